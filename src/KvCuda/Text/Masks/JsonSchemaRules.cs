// JSON Schema as rules over bytes: the subset that OpenAI's strict mode names, with references, patterns and ranges.
using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace KvCuda.Text.Masks;

/// <summary>
/// Adds the JSON texts that a schema allows to a grammar. Properties come in the schema's order. What is not known, or cannot be enforced, is
/// refused by name and place; nothing is left out in silence.
/// </summary>
sealed class JsonSchemaRules
{
    const int MaxDepth = 64, MaxCount = 10_000;

    static readonly HashSet<string> Notes = new(StringComparer.Ordinal)
    {
        "title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "deprecated", "readOnly", "writeOnly",
        "strict", "name",
    };

    static readonly JsonWriterOptions AsItIs = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly ByteNfa nfa;
    readonly JsonElement root;
    readonly Dictionary<string, int> byPlace = new(StringComparer.Ordinal);
    readonly int text, blank;
    int any = -1, depth;

    public JsonSchemaRules(ByteNfa nfa, JsonElement root)
    {
        (this.nfa, this.root) = (nfa, root);
        blank = Rule(from => JsonText.Blank(nfa, from));
        text = Rule(from => Quoted(from, at => nfa.Repeat(at, 0, -1, inner => JsonText.Character(nfa, inner))));
    }

    /// <summary>The rule of the whole schema.</summary>
    public int Root() => Of(root, "#");

    /// <summary>The rule of any JSON object.</summary>
    public int AnyObject() => Rule(from => Object(from, [], Any()));

    int Rule(Func<int, int> body)
    {
        int rule = nfa.Rule();
        nfa.End(body(nfa.StartOf(rule)));
        return rule;
    }

    int Any()
    {
        if (any < 0)
        {
            any = nfa.Rule();
            int from = nfa.StartOf(any), to = nfa.State();
            nfa.End(to);
            nfa.Free(nfa.Call(from, text), to);
            nfa.Free(JsonText.Number(nfa, from, whole: false), to);
            nfa.Free(nfa.Literal(from, "true"u8), to);
            nfa.Free(nfa.Literal(from, "false"u8), to);
            nfa.Free(nfa.Literal(from, "null"u8), to);
            nfa.Free(Object(from, [], any), to);
            nfa.Free(Array(from, any, 0, -1), to);
        }
        return any;
    }

    int Of(JsonElement schema, string place)
    {
        if (byPlace.TryGetValue(place, out int known))
        {
            return known;
        }
        int rule = byPlace[place] = nfa.Rule(); // known before its body is built: schemas may refer to themselves
        if (++depth > MaxDepth)
        {
            throw Bad(place, $"is nested deeper than {MaxDepth}");
        }
        nfa.End(Value(nfa.StartOf(rule), schema, place));
        depth--;
        return rule;
    }

    int Value(int from, JsonElement schema, string place)
    {
        if (schema.ValueKind == JsonValueKind.True)
        {
            return nfa.Call(from, Any());
        }
        if (schema.ValueKind != JsonValueKind.Object)
        {
            throw Bad(place, "is not a schema (an object, or true)");
        }
        if (schema.TryGetProperty("$ref"u8, out JsonElement reference))
        {
            Only(schema, place, "$ref");
            string target = reference.ValueKind == JsonValueKind.String ? reference.GetString()! : throw Bad(place, "has a $ref that is no text");
            return nfa.Call(from, Of(Resolve(target, place), target));
        }
        foreach (string name in (ReadOnlySpan<string>)["anyOf", "oneOf", "allOf"])
        {
            if (!schema.TryGetProperty(name, out JsonElement list))
            {
                continue;
            }
            Only(schema, place, name);
            if (list.ValueKind != JsonValueKind.Array || list.GetArrayLength() == 0 || (name != "anyOf" && list.GetArrayLength() > 1))
            {
                throw Bad(place, name == "anyOf" ? "needs a list of schemas in anyOf" : $"has {name} of several schemas, which cannot be enforced; use anyOf");
            }
            int to = nfa.State();
            for (int i = 0; i < list.GetArrayLength(); i++)
            {
                nfa.Free(nfa.Call(from, Of(list[i], $"{place}/{name}/{i}")), to);
            }
            return to;
        }
        if (schema.TryGetProperty("const"u8, out JsonElement constant))
        {
            Only(schema, place, "const", "type");
            return nfa.Literal(from, Written(constant));
        }
        if (schema.TryGetProperty("enum"u8, out JsonElement choices))
        {
            Only(schema, place, "enum", "type");
            if (choices.ValueKind != JsonValueKind.Array || choices.GetArrayLength() is 0 or > MaxCount)
            {
                throw Bad(place, $"needs a list of 1 to {MaxCount} values in enum");
            }
            int to = nfa.State();
            foreach (JsonElement choice in choices.EnumerateArray())
            {
                nfa.Free(nfa.Literal(from, Written(choice)), to);
            }
            return to;
        }
        return Typed(from, schema, place);
    }

    int Typed(int from, JsonElement schema, string place)
    {
        if (!schema.TryGetProperty("type"u8, out JsonElement type))
        {
            // Without a type, what its other words speak of says which it is.
            string? meant = schema.TryGetProperty("properties"u8, out _) ? "object" : schema.TryGetProperty("items"u8, out _) ? "array" : null;
            if (meant is null)
            {
                Only(schema, place);
                return nfa.Call(from, Any());
            }
            return Named(from, meant, schema, place, alone: true);
        }
        if (type.ValueKind == JsonValueKind.String)
        {
            return Named(from, type.GetString()!, schema, place, alone: true);
        }
        if (type.ValueKind != JsonValueKind.Array || type.GetArrayLength() == 0)
        {
            throw Bad(place, "needs a name or a list of names in type");
        }
        int to = nfa.State();
        foreach (JsonElement name in type.EnumerateArray())
        {
            nfa.Free(Named(from, name.ValueKind == JsonValueKind.String ? name.GetString()! : "?", schema, place, alone: false), to);
        }
        return to;
    }

    int Named(int from, string type, JsonElement schema, string place, bool alone)
    {
        if (!alone)
        {
            Only(schema, place, "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "pattern", "format",
                "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum");
        }
        switch (type)
        {
            case "object":
                Words("properties", "required", "additionalProperties");
                return ObjectOf(from, schema, place);
            case "array":
                Words("items", "minItems", "maxItems");
                int item = schema.TryGetProperty("items"u8, out JsonElement items) ? Of(items, place + "/items") : Any();
                return Array(from, item, Count(schema, "minItems", 0, place), Count(schema, "maxItems", -1, place));
            case "string":
                Words("pattern", "format", "minLength", "maxLength");
                return StringOf(from, schema, place);
            case "integer":
                Words("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum");
                return Whole(from, schema, place);
            case "number":
                Words("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum");
                foreach (string bound in (ReadOnlySpan<string>)["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
                {
                    if (schema.TryGetProperty(bound, out _))
                    {
                        throw Bad(place, $"has {bound} for type number, which is enforced for integers only");
                    }
                }
                return JsonText.Number(nfa, from, whole: false);
            case "boolean":
                Words();
                int to = nfa.Literal(from, "true"u8);
                nfa.Free(nfa.Literal(from, "false"u8), to);
                return to;
            case "null":
                Words();
                return nfa.Literal(from, "null"u8);
            default:
                throw Bad(place, $"has the type '{type}', which JSON Schema does not know");
        }

        void Words(params ReadOnlySpan<string> words)
        {
            if (alone)
            {
                Only(schema, place, ["type", .. words]);
            }
        }
    }

    int StringOf(int from, JsonElement schema, string place)
    {
        int min = Count(schema, "minLength", 0, place), max = Count(schema, "maxLength", -1, place);
        string? pattern = schema.TryGetProperty("pattern"u8, out JsonElement p) ? p.GetString() : null;
        if (schema.TryGetProperty("format"u8, out JsonElement format))
        {
            pattern = pattern is not null ? throw Bad(place, "has both pattern and format; one can be enforced") : format.GetString() switch
            {
                "date" => "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$",
                "time" => "^([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)$",
                "date-time" => "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)$",
                "uuid" => "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
                "ipv4" => "^((25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)$",
                var other => throw Bad(place, $"has the format '{other}', which is not enforced; known are date, time, date-time, uuid, ipv4"),
            };
        }
        if (pattern is not null)
        {
            return min > 0 || max >= 0 ? throw Bad(place, "has a pattern together with a length; one can be enforced")
                : Quoted(from, at => new PatternRules(nfa, json: true).Add(at, pattern, search: true));
        }
        if (min == 0 && max < 0)
        {
            return nfa.Call(from, text);
        }
        if (max >= 0 && max < min)
        {
            throw Bad(place, $"has maxLength {max} below minLength {min}");
        }
        return Quoted(from, at => nfa.Repeat(at, min, max, inner => JsonText.Character(nfa, inner)));
    }

    int Quoted(int from, Func<int, int> content) => nfa.Literal(content(nfa.Literal(from, "\""u8)), "\""u8);

    int Whole(int from, JsonElement schema, string place)
    {
        const long most = 999_999_999_999_999_999;
        long low = Math.Max(Bound("minimum", 0), Bound("exclusiveMinimum", 1)), high = Math.Min(Bound("maximum", 0), Bound("exclusiveMaximum", -1));
        if (low == -most && high == most)
        {
            return JsonText.Number(nfa, from, whole: true);
        }
        if (low > high)
        {
            throw Bad(place, "allows no integer");
        }
        int to = nfa.State();
        if (high >= 0)
        {
            nfa.Free(JsonText.Between(nfa, from, Math.Max(low, 0), high), to);
        }
        if (low < 0)
        {
            nfa.Free(JsonText.Between(nfa, nfa.Literal(from, "-"u8), Math.Max(1, -Math.Min(high, -1)), -low), to);
        }
        return to;

        long Bound(string name, int shift)
        {
            bool lower = name.Contains("inimum", StringComparison.Ordinal);
            if (!schema.TryGetProperty(name, out JsonElement value))
            {
                return lower ? -most : most;
            }
            if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out double number))
            {
                throw Bad(place, $"needs a number in {name}");
            }
            // 2.5 as a least value is 3; as an exclusive least value too.
            double whole = shift != 0 && number == Math.Floor(number) ? number + shift : lower ? Math.Ceiling(number) : Math.Floor(number);
            return (long)Math.Clamp(whole, -most, most);
        }
    }

    int ObjectOf(int from, JsonElement schema, string place)
    {
        var required = new HashSet<string>(StringComparer.Ordinal);
        if (schema.TryGetProperty("required"u8, out JsonElement names))
        {
            if (names.ValueKind != JsonValueKind.Array)
            {
                throw Bad(place, "needs a list in required");
            }
            foreach (JsonElement name in names.EnumerateArray())
            {
                required.Add(name.ValueKind == JsonValueKind.String ? name.GetString()! : throw Bad(place, "needs names in required"));
            }
        }
        var properties = new List<(string Name, int Rule, bool Required)>();
        if (schema.TryGetProperty("properties"u8, out JsonElement declared))
        {
            if (declared.ValueKind != JsonValueKind.Object)
            {
                throw Bad(place, "needs an object in properties");
            }
            foreach (JsonProperty property in declared.EnumerateObject())
            {
                properties.Add((property.Name, Of(property.Value, $"{place}/properties/{Escaped(property.Name)}"), required.Remove(property.Name)));
            }
        }
        if (required.Count > 0)
        {
            throw Bad(place, $"requires '{required.First()}', which is not among its properties");
        }
        int further = !schema.TryGetProperty("additionalProperties"u8, out JsonElement more) ? Any()
            : more.ValueKind == JsonValueKind.False ? -1 : Of(more, place + "/additionalProperties");
        return Object(from, properties, further);
    }

    // {, the properties in order (optional ones may be missing), then further ones, }.
    int Object(int from, List<(string Name, int Rule, bool Required)> properties, int further)
    {
        // Before a property, nothing or something has been written: that decides whether a comma comes.
        int none = nfa.Call(nfa.Literal(from, "{"u8), blank), some = nfa.State();
        foreach ((string name, int rule, bool isRequired) in properties)
        {
            int after = nfa.State(), nextNone = nfa.State();
            byte[] written = Written(writer => writer.WriteStringValue(name));
            int member = nfa.State();
            nfa.Free(none, member);
            nfa.Free(nfa.Call(nfa.Literal(some, ","u8), blank), member);
            int value = nfa.Call(nfa.Literal(nfa.Call(nfa.Literal(member, written), blank), ":"u8), blank);
            nfa.Free(nfa.Call(nfa.Call(value, rule), blank), after);
            if (!isRequired)
            {
                nfa.Free(none, nextNone);
                nfa.Free(some, after);
            }
            (none, some) = (nextNone, after);
        }
        int end = nfa.State();
        if (further >= 0)
        {
            int member = nfa.State(), after = nfa.State();
            nfa.Free(none, member);
            nfa.Free(nfa.Call(nfa.Literal(some, ","u8), blank), member);
            int named = properties.Count == 0 ? nfa.Call(member, text) : OtherName(member, properties);
            int value = nfa.Call(nfa.Literal(nfa.Call(named, blank), ":"u8), blank);
            nfa.Free(nfa.Call(nfa.Call(value, further), blank), after);
            nfa.Free(after, some);
        }
        nfa.Free(none, end);
        nfa.Free(some, end);
        return nfa.Literal(end, "}"u8);
    }

    /// <summary>A name that no declared property has, without escapes (so that none is spelled another way).</summary>
    int OtherName(int from, List<(string Name, int Rule, bool Required)> properties)
    {
        int to = nfa.State();
        string[] names = [.. properties.Select(property => property.Name)];
        Prefix(nfa.Literal(from, "\""u8), names, 0);
        return to;

        // After a prefix that some names share: any character that none of them has next leads out of all of them.
        void Prefix(int at, string[] having, int length)
        {
            if (!having.Any(name => name.Length == length))
            {
                nfa.Free(nfa.Literal(at, "\""u8), to);
            }
            int outside = nfa.State(), loop = nfa.State();
            nfa.Free(outside, loop);
            Plain(loop, loop, 0x20, 0x10FFFF);
            nfa.Free(nfa.Literal(loop, "\""u8), to);
            var next = having.Where(name => name.Length > length)
                .GroupBy(name => Rune.TryGetRuneAt(name, length, out Rune rune) ? rune.Value : 0xFFFD).OrderBy(group => group.Key).ToList();
            int low = 0x20;
            foreach (IGrouping<int, string> group in next)
            {
                Plain(at, outside, low, group.Key - 1);
                low = group.Key + 1;
                if (group.Key >= 0x20 && group.Key is not ('"' or '\\'))
                {
                    int after = nfa.State();
                    Plain(at, after, group.Key, group.Key);
                    Prefix(after, [.. group], length + (group.Key > 0xFFFF ? 2 : 1));
                }
            }
            Plain(at, outside, low, 0x10FFFF);
        }

        void Plain(int at, int next, int low, int high)
        {
            foreach ((int a, int b) in (ReadOnlySpan<(int, int)>)[(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x10FFFF)])
            {
                if (Math.Max(a, low) <= Math.Min(b, high))
                {
                    Utf8Ranges.Add(nfa, at, next, Math.Max(a, low), Math.Min(b, high));
                }
            }
        }
    }

    int Array(int from, int item, int min, int max)
    {
        int open = nfa.Call(nfa.Literal(from, "["u8), blank), end = nfa.State();
        if (min <= 0)
        {
            nfa.Free(open, end);
        }
        if (max != 0)
        {
            int one = Item(open);
            nfa.Free(nfa.Repeat(one, Math.Max(0, min - 1), max < 0 ? -1 : Math.Max(0, max - 1), at => Item(nfa.Call(nfa.Literal(at, ","u8), blank))), end);
        }
        return nfa.Literal(end, "]"u8);

        int Item(int at) => nfa.Call(nfa.Call(at, item), blank);
    }

    static int Count(JsonElement schema, string name, int otherwise, string place) => !schema.TryGetProperty(name, out JsonElement value) ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count is >= 0 and <= MaxCount ? count
        : throw Bad(place, $"needs a whole number from 0 to {MaxCount} in {name}");

    JsonElement Resolve(string reference, string place)
    {
        if (reference is "#" or "")
        {
            return root;
        }
        if (!reference.StartsWith("#/", StringComparison.Ordinal))
        {
            throw Bad(place, $"refers to '{reference}'; only references within the schema (#/..) can be followed");
        }
        JsonElement found = root;
        foreach (string part in reference[2..].Split('/'))
        {
            string name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            bool there = found.ValueKind == JsonValueKind.Object ? found.TryGetProperty(name, out found)
                : found.ValueKind == JsonValueKind.Array && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int at)
                    && at < found.GetArrayLength() && (found = found[at]).ValueKind != JsonValueKind.Undefined;
            if (!there)
            {
                throw Bad(place, $"refers to '{reference}', which is not in the schema");
            }
        }
        return found;
    }

    static void Only(JsonElement schema, string place, params ReadOnlySpan<string> words)
    {
        foreach (JsonProperty word in schema.EnumerateObject())
        {
            if (!words.Contains(word.Name) && !Notes.Contains(word.Name))
            {
                throw Bad(place, $"has '{word.Name}', which cannot be enforced here");
            }
        }
    }

    static byte[] Written(JsonElement value) => Written(value.WriteTo);

    static byte[] Written(Action<Utf8JsonWriter> write)
    {
        ArrayBufferWriter<byte> bytes = new();
        using (Utf8JsonWriter writer = new(bytes, AsItIs))
        {
            write(writer);
        }
        return bytes.WrittenSpan.ToArray();
    }

    static string Escaped(string name) => name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    static InvalidRequestException Bad(string place, string what) =>
        new($"The schema at {(place.Length > 200 ? place[..200] + "..." : place)} {what}.");
}
