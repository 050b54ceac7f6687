using KvCuda.Engine;
using KvCuda.Tests.Weights;

namespace KvCuda.Tests.Extensions;

/// <summary>The bundled model with a chat template beside it, and an engine that has it loaded.</summary>
public sealed class ChatModel : IAsyncLifetime
{
    public const string Template = """
        {% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}<{{ m.role }}> {{ m.content }}
        {% endfor %}{% if add_generation_prompt %}<assistant> {% if enable_thinking is defined and not enable_thinking %}- {% endif %}{% endif %}
        """;

    readonly TemporaryFolder folder = new();

    public string Folder => folder.ToString();

    public KvEngine Engine { get; private set; } = null!;

    public static KvEngineOptions Small => new() { Device = "cpu", Threads = 1, PageTokens = 16, MaxSequences = 4 };

    public async ValueTask InitializeAsync()
    {
        foreach (string file in Directory.GetFiles(Repository.Demo))
        {
            File.Copy(file, folder[Path.GetFileName(file)]);
        }
        folder.Write("chat_template.jinja", Template);
        Engine = await KvEngine.LoadAsync(Folder, Small);
    }

    public async ValueTask DisposeAsync()
    {
        await Engine.DisposeAsync();
        folder.Dispose();
    }
}
