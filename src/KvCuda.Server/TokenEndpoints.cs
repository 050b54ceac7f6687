// Text to tokens and back, and what a chat template makes of messages, over HTTP.
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using KvCuda.Engine;
using KvCuda.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace KvCuda.Server;

/// <summary>The body of <c>POST /tokenize</c>, as vLLM (<c>prompt</c>) and llama.cpp (<c>content</c>) have it.</summary>
sealed class TokenizeRequest
{
    public string? Model { get; set; }
    public string? Prompt { get; set; }
    public string? Content { get; set; }
    public bool? AddSpecialTokens { get; set; } // vLLM's, true by default there
    public bool? AddSpecial { get; set; }       // llama.cpp's, false by default there
    public bool? ParseSpecial { get; set; }
    public bool? WithPieces { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

/// <summary>The body of <c>POST /detokenize</c>.</summary>
sealed class DetokenizeRequest
{
    public string? Model { get; set; }
    public List<int>? Tokens { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Others { get; set; }
}

/// <summary><c>POST /tokenize</c>, <c>/detokenize</c> and <c>/apply-template</c>: nothing is generated.</summary>
sealed class TokenEndpoints(KvServerOptions options, Guard guard, ModelSource model)
{
    public void Map(IEndpointRouteBuilder routes)
    {
        routes.MapPost("/tokenize", TokenizeAsync);
        routes.MapPost("/detokenize", DetokenizeAsync);
        routes.MapPost("/apply-template", ApplyAsync);
    }

    async Task TokenizeAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        TokenizeRequest asked = await RequestBody.ReadAsync(context.Request, OpenAiJson.Strict.TokenizeRequest, context.RequestAborted).ConfigureAwait(false);
        FieldRules.Check(asked.Others);
        if ((asked.Prompt is null) == (asked.Content is null))
        {
            throw ApiException.Bad("Give prompt, or content, which is the same by another name.", "prompt");
        }
        KvEngine engine = model.Get().Engine;
        string text = asked.Prompt ?? asked.Content!;
        bool add = asked.AddSpecialTokens ?? asked.AddSpecial ?? asked.Prompt is not null;
        IReadOnlyList<int> tokens = engine.Tokenizer!.EncodeToIds(text,
            (add ? SpecialTokens.Add : SpecialTokens.None) | (asked.ParseSpecial is false ? SpecialTokens.None : SpecialTokens.Parse));
        await context.Response.WriteJsonAsync(json =>
        {
            json.WriteStartObject();
            json.WriteNumber("count", tokens.Count);
            json.WriteNumber("max_model_len", options.MaxPromptTokens ?? engine.MaxContext);
            json.WriteStartArray("tokens");
            foreach (int token in tokens)
            {
                if (asked.WithPieces is true)
                {
                    WritePiece(json, token, engine.Tokenizer);
                }
                else
                {
                    json.WriteNumberValue(token);
                }
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }).ConfigureAwait(false);
    }

    // llama.cpp's form: a text, or bytes where it is none.
    static void WritePiece(Utf8JsonWriter json, int token, Tokenizer tokenizer)
    {
        byte[] bytes = tokenizer.TokenBytes(token);
        json.WriteStartObject();
        json.WriteNumber("id", token);
        if (System.Text.Unicode.Utf8.IsValid(bytes))
        {
            json.WriteString("piece", Encoding.UTF8.GetString(bytes));
        }
        else
        {
            json.WriteStartArray("piece");
            foreach (byte b in bytes)
            {
                json.WriteNumberValue(b);
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    async Task DetokenizeAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        DetokenizeRequest asked = await RequestBody.ReadAsync(context.Request, OpenAiJson.Strict.DetokenizeRequest, context.RequestAborted).ConfigureAwait(false);
        FieldRules.Check(asked.Others);
        string text = model.Get().Engine.Tokenizer!.Decode(asked.Tokens ?? throw ApiException.Bad("tokens is missing.", "tokens"));
        await context.Response.WriteJsonAsync(json =>
        {
            json.WriteStartObject();
            json.WriteString("content", text); // llama.cpp's name
            json.WriteString("prompt", text);  // vLLM's
            json.WriteEndObject();
        }).ConfigureAwait(false);
    }

    async Task ApplyAsync(HttpContext context)
    {
        guard.Authenticate(context.Request);
        ChatCompletionRequest asked = await RequestBody.ReadAsync(context.Request, OpenAiJson.Strict.ChatCompletionRequest, context.RequestAborted).ConfigureAwait(false);
        string text;
        try
        {
            RequestMapping.Generate(asked, "", 1); // what a chat would refuse is refused here
            RequestMapping.Tools(asked);
            ChatFormat format = model.Get().Format ?? throw ApiException.Bad($"The model {model.Id} has no chat template.", "messages", "no_chat_template");
            text = format.Render(RequestMapping.Messages(asked), RequestMapping.Context(asked));
        }
        catch (InvalidOperationException)
        {
            throw ApiException.Bad("The body has a text that is no Unicode.", null);
        }
        await context.Response.WriteJsonAsync(json =>
        {
            json.WriteStartObject();
            json.WriteString("prompt", text);
            json.WriteEndObject();
        }).ConfigureAwait(false);
    }
}
