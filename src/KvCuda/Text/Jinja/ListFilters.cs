namespace KvCuda.Text.Jinja;

/// <summary>Filters that walk through lists.</summary>
static class ListFilters
{
    public static Sequence Paid(Sequence sequence, RenderContext context)
    {
        context.Pay(sequence.Items.Count);
        return sequence;
    }

    /// <summary>a.b.0 as an attribute: names and indices joined by points.</summary>
    public static object? Path(object? value, object? attribute)
    {
        if (attribute is not string path)
        {
            return Members.Item(value, attribute);
        }

        Account.Pay(1 + (path.Length / 8));
        foreach (string part in path.Split('.'))
        {
            value = long.TryParse(part, out long index) ? Members.Item(value, index) : Members.Item(value, part);
        }

        return value;
    }

    public static object? Map(object? value, Arguments arguments, RenderContext context)
    {
        List<object?> items = Py.Truthy(value) ? Py.Iterate(value) : [];
        context.Pay(items.Count);
        if (arguments.TryTakeNamed("attribute", out object? attribute))
        {
            bool hasDefault = arguments.TryTakeNamed("default", out object? absent);
            return new Sequence(items.ConvertAll(item =>
                Path(item, attribute) is var found && found is Undefined && hasDefault ? absent : found));
        }

        string name = arguments.TakeString("filter");
        List<object?> rest = arguments.TakeRest();
        Dictionary<string, object?> named = arguments.TakeNamed();
        return new Sequence(items.ConvertAll(item => Filters.Apply(name, item, rest, named, context)));
    }

    public static object? Select(object? value, Arguments arguments, RenderContext context, bool keep, bool byAttribute)
    {
        List<object?> items = Py.Truthy(value) ? Py.Iterate(value) : [];
        context.Pay(items.Count);
        object? attribute = byAttribute ? arguments.Take("attribute") : null;
        string? test = arguments.TakeString("test", null);
        List<object?> rest = arguments.TakeRest();
        return new Sequence(items.FindAll(item =>
        {
            object? subject = byAttribute ? Path(item, attribute) : item;
            return (test is null ? Py.Truthy(subject) : Tests.Apply(test, subject, rest)) == keep;
        }));
    }

    public static object? Join(object? value, Arguments arguments, RenderContext context)
    {
        string separator = Py.Str(arguments.Take("d", ""));
        object? attribute = arguments.Take("attribute", null);
        List<object?> items = Py.Iterate(value);
        context.Pay(items.Count);
        return StringMethods.Join(separator,
            items.ConvertAll(item => (object?)Py.Str(attribute is null ? item : Path(item, attribute))), context);
    }

    public static object? Sort(object? value, Arguments arguments, RenderContext context)
    {
        bool reverse = Py.Truthy(arguments.Take("reverse", false));
        bool caseSensitive = Py.Truthy(arguments.Take("case_sensitive", false));
        object? attribute = arguments.Take("attribute", null);
        return Sorted(Py.Iterate(value), reverse, item =>
        {
            if (attribute is string several && several.Contains(',', StringComparison.Ordinal))
            {
                return new Sequence([.. several.Split(',').Select(a => Folded(Path(item, a.Trim()), caseSensitive))]);
            }

            return Folded(attribute is null ? item : Path(item, attribute), caseSensitive);
        }, context);
    }

    public static object? DictSort(object? value, Arguments arguments, RenderContext context)
    {
        bool caseSensitive = Py.Truthy(arguments.Take("case_sensitive", false));
        string by = arguments.TakeString("by", "key")!;
        bool reverse = Py.Truthy(arguments.Take("reverse", false));
        if (value is not Dict dict || by is not ("key" or "value"))
        {
            throw new RenderException("dictsort sorts a dict by 'key' or 'value'");
        }

        return Sorted(Members.Items(dict, context).Items, reverse,
            item => Folded(((Sequence)item!).Items[by == "key" ? 0 : 1], caseSensitive), context);
    }

    public static object? GroupBy(object? value, Arguments arguments, RenderContext context)
    {
        object? attribute = arguments.Take("attribute");
        bool hasDefault = arguments.TryTake("default", out object? absent);
        bool caseSensitive = Py.Truthy(arguments.Take("case_sensitive", false));
        object? Key(object? item) => Path(item, attribute) is var key && key is Undefined && hasDefault ? absent : key;
        var groups = new List<object?>();
        Sequence? last = null;
        object? lastKey = null;
        foreach (object? item in Sorted(Py.Iterate(value), false, i => Folded(Key(i), caseSensitive), context).Items)
        {
            object? key = Folded(Key(item), caseSensitive);
            if (last is null || !Py.Equal(key, lastKey))
            {
                last = new Sequence([]);
                lastKey = key;
                groups.Add(new Group(Key(item), last));
            }

            last.Items.Add(item);
        }

        return new Sequence(groups);
    }

    public static object? Unique(object? value, Arguments arguments, RenderContext context)
    {
        bool caseSensitive = Py.Truthy(arguments.Take("case_sensitive", false));
        object? attribute = arguments.Take("attribute", null);
        var seen = new HashSet<object>(ValueComparer.Instance);
        List<object?> items = Py.Iterate(value);
        context.Pay(items.Count);
        return new Sequence(items.FindAll(item =>
            seen.Add(Folded(attribute is null ? item : Path(item, attribute), caseSensitive) ?? DBNull.Value)));
    }

    public static object? Extreme(object? value, Arguments arguments, RenderContext context, int sign)
    {
        bool caseSensitive = Py.Truthy(arguments.Take("case_sensitive", false));
        object? attribute = arguments.Take("attribute", null);
        List<object?> items = Py.Iterate(value);
        context.Pay(items.Count);
        object? best = new Undefined("the extreme of nothing");
        object? bestKey = null;
        foreach (object? item in items)
        {
            object? key = Folded(attribute is null ? item : Path(item, attribute), caseSensitive);
            if (best is Undefined || Py.Compare(key, bestKey) * sign > 0)
            {
                (best, bestKey) = (item, key);
            }
        }

        return best;
    }

    public static object? Sum(object? value, Arguments arguments, RenderContext context)
    {
        object? attribute = arguments.Take("attribute", null);
        object? sum = arguments.Take("start", 0L);
        foreach (object? item in Py.Iterate(value))
        {
            context.Pay(1);
            sum = Operators.Arithmetic("+", sum, attribute is null ? item : Path(item, attribute), context);
        }

        return sum;
    }

    public static object? Batch(object? value, Arguments arguments, RenderContext context)
    {
        long count = Py.ToLong(arguments.Take("linecount"));
        object? fill = arguments.Take("fill_with", null);
        List<object?> items = Py.Iterate(value);
        context.Pay(items.Count + Math.Max(0, count));
        if (count < 1)
        {
            throw new RenderException("batch: a batch has at least one item");
        }

        var batches = new List<object?>();
        for (int at = 0; at < items.Count; at += (int)Math.Min(count, int.MaxValue / 2))
        {
            List<object?> batch = items[at..(int)Math.Min(items.Count, at + count)];
            while (fill is not null && batch.Count < count)
            {
                batch.Add(fill);
            }

            batches.Add(new Sequence(batch));
        }

        return new Sequence(batches);
    }

    public static object? SliceColumns(object? value, Arguments arguments, RenderContext context)
    {
        long count = Py.ToLong(arguments.Take("slices"));
        object? fill = arguments.Take("fill_with", null);
        List<object?> items = Py.Iterate(value);
        context.Pay(items.Count + Math.Max(0, count));
        if (count < 1)
        {
            throw new RenderException("slice: there is at least one slice");
        }

        var slices = new List<object?>();
        int at = 0;
        for (int i = 0; i < count; i++)
        {
            int length = (int)((items.Count / count) + (i < items.Count % count ? 1 : 0));
            var slice = new Sequence(items[at..(at + length)]);
            if (fill is not null && i >= items.Count % count && items.Count % count != 0)
            {
                slice.Items.Add(fill);
            }

            slices.Add(slice);
            at += length;
        }

        return new Sequence(slices);
    }

    static object? Folded(object? key, bool caseSensitive) => !caseSensitive && key is string s ? s.ToLowerInvariant() : key;

    // A stable sort, as Python's: in reverse, equal items keep their order too.
    static Sequence Sorted(List<object?> items, bool reverse, Func<object?, object?> key, RenderContext context)
    {
        context.Pay(items.Count * 16L);
        var comparer = Comparer<object?>.Create((a, b) => Py.Compare(a, b));
        try
        {
            return new Sequence([.. reverse ? items.OrderByDescending(key, comparer) : items.OrderBy(key, comparer)]);
        }
        catch (InvalidOperationException e) when (e.InnerException is RenderException inner)
        {
            throw new RenderException(inner.Message);
        }
    }
}
