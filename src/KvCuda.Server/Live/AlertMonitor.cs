// Alerts as they come and go: thresholds, times, hysteresis. Pure: figures in, changes out.
namespace KvCuda.Server;

/// <summary>Which alerts are raised.</summary>
sealed class AlertMonitor(IReadOnlyList<KvAlertRule> rules)
{
    sealed class State
    {
        public TimeSpan? Beyond; // since when
        public bool Raised;
        public double Value;
    }

    readonly Lock gate = new();
    readonly State[] states = [.. rules.Select(_ => new State())];

    /// <summary>Takes the figures of a moment.</summary>
    /// <param name="now">the moment, from any beginning</param>
    /// <param name="figures">null: there is none, and nothing changes</param>
    /// <returns>what began or ended with it</returns>
    public List<KvAlert> Take(TimeSpan now, Func<KvFigure, double?> figures)
    {
        List<KvAlert> changes = [];
        lock (gate)
        {
            for (int i = 0; i < states.Length; i++)
            {
                (KvAlertRule rule, State state) = (rules[i], states[i]);
                if (figures(rule.Figure) is not { } value)
                {
                    state.Beyond = null;
                    continue;
                }
                state.Value = value;
                if (state.Raised ? rule.IsOver(value) : !rule.IsBeyond(value))
                {
                    if (state.Raised)
                    {
                        changes.Add(new(rule, false, value));
                    }
                    (state.Raised, state.Beyond) = (false, null);
                }
                else if (!state.Raised && now - (state.Beyond ??= now) >= rule.For)
                {
                    state.Raised = true;
                    changes.Add(new(rule, true, value));
                }
            }
        }
        return changes;
    }

    /// <summary>Every rule, whether its alert is raised, and its figure.</summary>
    public List<KvAlert> Now()
    {
        lock (gate)
        {
            return [.. rules.Select((rule, i) => new KvAlert(rule, states[i].Raised, states[i].Value))];
        }
    }
}
