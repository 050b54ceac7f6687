using System.Buffers.Binary;
using System.Text;
using KvCuda.Tensors;
using KvCuda.Weights;

namespace KvCuda.Tests.Weights;

public sealed class SafetensorsTests : IDisposable
{
    readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    static byte[] FileOf(string header, int dataBytes)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        byte[] file = new byte[8 + json.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(file, json.Length);
        json.CopyTo(file, 8);
        for (int i = 0; i < dataBytes; i++)
        {
            file[8 + json.Length + i] = (byte)(i + 1);
        }
        return file;
    }

    const string TwoTensors = """
        {"__metadata__":{"format":"pt"},
         "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
         "b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}
        """;

    [Fact]
    public void Tensors_are_views_into_the_file()
    {
        byte[] bytes = FileOf(TwoTensors, 32);
        using SafetensorsFile file = SafetensorsFile.Open(folder.Write("model.safetensors", bytes));
        Assert.Equal(["a", "b"], file.Tensors.Keys.Order());
        StoredTensor a = file.Tensors["a"];
        Assert.Equal("a (2, 3) F32", a.ToString());
        Assert.Equal(DType.F32, a.Type.Type);
        Assert.Equal(bytes.AsSpan(bytes.Length - 32, 24), a.Span);
        Assert.Equal(bytes.AsSpan(bytes.Length - 8), file.Tensors["b"].Span);
    }

    [Fact]
    public void A_folder_of_links_is_read_as_the_files_they_lead_to()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "making links needs a privilege there");
        // huggingface_hub's cache: snapshots/REVISION/NAME -> ../../blobs/HASH, links of 76 characters.
        Directory.CreateDirectory(folder["blobs"]);
        Directory.CreateDirectory(folder["snapshots/1"]);
        byte[] bytes = FileOf(TwoTensors, 32);
        string blob = new('c', 64);
        folder.Write($"blobs/{blob}", bytes);
        File.CreateSymbolicLink(folder["snapshots/1/model.safetensors"], $"../../blobs/{blob}");
        using SafetensorsModel model = SafetensorsModel.Open(folder["snapshots/1"]);
        Assert.Equal(bytes.Length, model.Files[0].Length);
        Assert.Equal(bytes.AsSpan(bytes.Length - 32, 24), model.Tensors["a"].Span);
    }

    [Fact]
    public void The_limit_of_a_small_file_counts_for_what_a_link_leads_to()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "making links needs a privilege there");
        using (FileStream large = File.Create(folder["large"]))
        {
            large.SetLength(10_000_001);
        }
        File.CreateSymbolicLink(folder["config.json"], folder["large"]);
        Assert.Contains("may have at most", Assert.Throws<ModelFormatException>(() => ConfigJson.Load(folder["config.json"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_field_of_a_tensor_that_the_format_does_not_know_is_stepped_over_as_in_the_Rust_reader()
    {
        using SafetensorsFile file = SafetensorsFile.Open(folder.Write("x.safetensors",
            FileOf("""{"a":{"dtype":"F32","note":{"by":["x"]},"shape":[1],"data_offsets":[0,4]}}""", 4)));
        Assert.Equal("a (1,) F32", file.Tensors["a"].ToString());
    }

    [Theory]
    [InlineData("model.gguf", "is a GGUF file")]
    [InlineData("pytorch_model.bin", "can be saved again as safetensors")]
    public void Files_of_other_formats_get_a_useful_word(string name, string word)
    {
        folder.Write(name, "GGUF....");
        Assert.Contains(word, Assert.Throws<ModelFormatException>(() => ModelConfig.Load(folder.ToString())).Message, StringComparison.Ordinal);
        Assert.Contains(word, Assert.Throws<ModelFormatException>(() => SafetensorsModel.Open(folder.ToString())).Message, StringComparison.Ordinal);
        string error = Assert.Throws<ModelFormatException>(() => ModelConfig.Load(folder[name])).Message;
        Assert.Contains("GGUF", error, StringComparison.Ordinal);
        Assert.Contains("hf download some/model", Assert.Throws<ModelFormatException>(() => ModelConfig.Load("some/model")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Data_at_an_odd_address_is_copied_to_an_aligned_one()
    {
        for (int pad = 0; pad < 4; pad++)
        {
            byte[] bytes = FileOf(TwoTensors + new string(' ', pad), 32);
            using SafetensorsFile file = SafetensorsFile.Open(folder.Write($"{pad}.safetensors", bytes));
            Assert.Equal(0, file.Tensors["a"].Address % 4);
            Assert.Equal(bytes.AsSpan(bytes.Length - 32, 24), file.Tensors["a"].Span);
        }
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "(2,) F32 should have 8 bytes, but lies at [0, 4)")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 8, "4 bytes after 'a' belong to no tensor")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "4 bytes between the header and the tensor 'a'")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 4, "was the download interrupted?")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", 4, "lies at [4, 0)")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}}""", 4, "'a' and 'b' overlap")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "'a' is there twice")]
    [InlineData("""{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}""", 4, "dtype 'F31', which the format does not know")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}""", 4, "larger than any file")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "whole numbers from 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}""", 4, "whole numbers from 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}""", 4, "at most 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1]}}""", 4, "needs a dtype, a shape and two data_offsets")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}""", 4, "states its shape twice")]
    [InlineData("""{"a":7}""", 0, "is not the JSON it should be")]
    [InlineData("""[]""", 0, "is not the JSON it should be")]
    [InlineData("""{} {}""", 0, "is not the JSON it should be")]
    [InlineData("""{""", 0, "is not the JSON it should be")]
    public void A_malformed_header_is_one_clear_error(string header, int dataBytes, string reason)
    {
        byte[] file = FileOf(header, dataBytes);
        var error = Assert.Throws<ModelFormatException>(() => SafetensorsHeader.Parse("x.safetensors", file, file.Length));
        Assert.StartsWith("x.safetensors is not a usable safetensors file: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_lying_header_length_is_refused_before_anything_is_read()
    {
        byte[] file = FileOf(TwoTensors, 32);
        foreach (ulong length in (ulong[])[ulong.MaxValue, long.MaxValue, 100_000_001, 100_000_000, (ulong)file.Length])
        {
            BinaryPrimitives.WriteUInt64LittleEndian(file, length);
            Assert.Throws<ModelFormatException>(() => SafetensorsHeader.Parse("x", file, file.Length));
        }
        for (int length = 0; length < 8; length++)
        {
            Assert.Throws<ModelFormatException>(() => SafetensorsHeader.Parse("x", file.AsSpan(0, length), length));
        }
    }

    [Fact]
    public void Every_truncation_of_a_file_is_refused()
    {
        byte[] file = FileOf(TwoTensors, 32);
        for (int length = 0; length < file.Length; length++)
        {
            Assert.Throws<ModelFormatException>(() => SafetensorsHeader.Parse("x", file.AsSpan(0, length), length));
        }
    }

    [Fact]
    public void Mutated_files_give_tensors_inside_the_file_or_one_clear_error()
    {
        byte[] original = FileOf(TwoTensors, 32);
        string[] tokens = ["{", "}", "[", "]", ",", ":", "\"", "0", "9", "-1", "1e9", "\\ud800", "a", "F16", "shape", "9223372036854775807", "null"];
        var random = new Random(7);
        int accepted = 0, refused = 0;
        for (int round = 0; round < 20_000; round++)
        {
            var bytes = new List<byte>(original);
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                int at = random.Next(bytes.Count);
                switch (random.Next(5))
                {
                    case 0: bytes[at] = (byte)random.Next(256); break;
                    case 1: bytes[at] ^= (byte)(1 << random.Next(8)); break;
                    case 2: bytes.RemoveRange(at, Math.Min(random.Next(1, 9), bytes.Count - at)); break;
                    case 3: bytes.InsertRange(at, Encoding.UTF8.GetBytes(tokens[random.Next(tokens.Length)])); break;
                    default: bytes.InsertRange(at, bytes.GetRange(at, Math.Min(random.Next(1, 30), bytes.Count - at))); break;
                }
                if (bytes.Count == 0)
                {
                    break;
                }
            }
            byte[] file = [.. bytes];
            if (file.Length >= 8 && random.Next(2) == 0)
            {
                // Half of the time the header's length is right again, so that the JSON itself is tried.
                BinaryPrimitives.WriteInt64LittleEndian(file, Math.Max(0, file.Length - 8 - 32));
            }
            try
            {
                List<HeaderEntry> entries = SafetensorsHeader.Parse("x", file, file.Length);
                Assert.All(entries, entry => Assert.InRange(entry.Offset, 8, file.Length - entry.Bytes));
                Assert.All(entries, entry => Assert.Equal(entry.Bytes * 8, entry.Shape.Count * entry.Type.Bits));
                accepted++;
            }
            catch (ModelFormatException error)
            {
                Assert.DoesNotContain(error.Message, char.IsControl);
                refused++;
            }
        }
        Assert.True(accepted > 100 && refused > 10_000, $"accepted {accepted}, refused {refused}");
    }

    [Fact]
    public void Mutated_files_on_disk_open_or_fail_with_one_clear_error()
    {
        byte[] original = FileOf(TwoTensors, 32);
        var random = new Random(8);
        for (int round = 0; round < 300; round++)
        {
            byte[] file = [.. original.AsSpan(0, random.Next(original.Length + 1))];
            if (file.Length > 0)
            {
                file[random.Next(file.Length)] = (byte)random.Next(256);
            }
            string path = folder.Write("fuzz.safetensors", file);
            try
            {
                using SafetensorsFile opened = SafetensorsFile.Open(path);
                Assert.All(opened.Tensors.Values, tensor => Assert.Equal((int)tensor.Bytes, tensor.Span.ToArray().Length));
            }
            catch (ModelFormatException)
            {
            }
        }
    }

    [Fact]
    public void Shards_are_found_through_the_index()
    {
        folder.Write("one.safetensors", FileOf("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 4));
        folder.Write("two.safetensors", FileOf("""{"b":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}""", 6));
        folder.Write("model.safetensors.index.json",
            """{"metadata":{"total_size":10},"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}""");
        using SafetensorsModel model = SafetensorsModel.Open(folder.ToString());
        Assert.True(model.TryGet("a", out StoredTensor? a) && a.File == "one.safetensors");
        Assert.True(model.TryGet("b", out StoredTensor? b) && b.Shape.Equals(new Shape(3)));
        Assert.False(model.TryGet("c", out _));
        Assert.Equal(10, model.Bytes);
        Assert.Equal(2, model.Files.Count);
    }

    [Theory]
    [InlineData("""{"weight_map":{"a":"../one.safetensors"}}""", "not the plain name of a file")]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "not the plain name of a file")]
    [InlineData("""{"weight_map":{"a":".."}}""", "not the plain name of a file")]
    [InlineData("""{"weight_map":{"a":"x\u0000.safetensors"}}""", "not the plain name of a file")]
    [InlineData("""{"weight_map":{"a":"three.safetensors"}}""", "names the shard 'three.safetensors', which is not in the folder")]
    [InlineData("""{"weight_map":{"z":"one.safetensors"}}""", "places the tensor 'z' in one.safetensors, which does not have it")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}""", "each once")]
    [InlineData("""{"weight_map":[]}""", "weight_map from tensor to file")]
    [InlineData("""{"weight_map":{"a":1}}""", "weight_map from tensor to file")]
    [InlineData("""{}""", "weight_map from tensor to file")]
    [InlineData("""nonsense""", "weight_map from tensor to file")]
    public void A_malformed_index_is_one_clear_error(string index, string reason)
    {
        folder.Write("one.safetensors", FileOf("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 4));
        folder.Write("model.safetensors.index.json", index);
        var error = Assert.Throws<ModelFormatException>(() => SafetensorsModel.Open(folder.ToString()));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_without_weights_says_what_it_has_instead()
    {
        folder.Write("pytorch_model.bin", "x");
        Assert.Contains("it has pytorch_model.bin", Assert.Throws<ModelFormatException>(
            () => SafetensorsModel.Open(folder.ToString())).Message, StringComparison.Ordinal);
        Assert.Contains("no such folder", Assert.Throws<ModelFormatException>(
            () => SafetensorsModel.Open(folder["nowhere"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_written_is_read_back_aligned_and_appears_only_when_finished()
    {
        string path = folder["out.safetensors"];
        byte[] a = [1, 2, 3, 4, 5, 6], b = [1, 2, 3, 4, 5, 6, 7, 8];
        using (var writer = new SafetensorsWriter(path, [("a \"quoted\"", DType.BF16, new(3)), ("b", DType.F32, new(2, 1))]))
        {
            writer.Write("b", 4, b.AsSpan(4));
            writer.Write("a \"quoted\"", 0, a);
            writer.Write("b", 0, b.AsSpan(0, 4));
            Assert.Throws<ArgumentOutOfRangeException>(() => writer.Write("b", 4, b));
            Assert.False(File.Exists(path));
            writer.Finish();
        }
        using (SafetensorsFile file = SafetensorsFile.Open(path))
        {
            Assert.Equal(a, file.Tensors["a \"quoted\""].Span);
            Assert.Equal(b, file.Tensors["b"].Span);
            Assert.Equal(0, file.Tensors["b"].Address % 64);
        }
        using (new SafetensorsWriter(folder["broken.safetensors"], [("a", DType.BF16, new(3))]))
        {
        }
        Assert.DoesNotContain(Directory.GetFiles(folder.ToString()), name => name.Contains("broken", StringComparison.Ordinal));
    }
}
