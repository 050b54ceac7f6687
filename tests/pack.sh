#!/usr/bin/env bash
# Makes the NuGet packages and proves them: fresh projects that know nothing of this repository use them.
#   1. the library and the chat client: the README's lines print text from the bundled model;
#   2. a service configured by appsettings.json: as it is, trimmed, and compiled ahead of time (AOT); each answers over HTTP with the
#      settings it was given, and no trim warning is ours;
#   3. the command as a dotnet tool.
# AOT needs a C compiler and the packages of the ahead-of-time compiler; where they cannot be had, that part says so and is left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
out=$root/artifacts/package
rm -rf "$out"
mkdir -p "$out"
for project in KvCuda KvCuda.Statistics KvCuda.Extensions KvCuda.Server KvCuda.Cli; do
    dotnet pack src/$project -c Release --nologo -v quiet -o "$out"
done
# Whatever else the packages stand on is packed too.
for package in "$out"/KvCuda.Cli.*.nupkg; do [ -e "$package" ] || { echo "pack: no tool package was made" >&2; exit 1; }; done
package=$(ls "$out"/KvCuda.Extensions.*.nupkg)
version=$(basename "$package" .nupkg)
version=${version#KvCuda.Extensions.}
for name in KvCuda KvCuda.Statistics KvCuda.Extensions KvCuda.Server; do
    [ -e "$out/$name.$version.snupkg" ] || { echo "pack: $name has no symbols" >&2; exit 1; }
    grep -aq 'icon.png' "$out/$name.$version.nupkg" || { echo "pack: $name has no icon" >&2; exit 1; }
done

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
properties="<TargetFramework>net10.0</TargetFramework><ImplicitUsings>enable</ImplicitUsings><Nullable>enable</Nullable>
    <InvariantGlobalization>true</InvariantGlobalization><RestorePackagesPath>$work/packages</RestorePackagesPath>
    <RestoreAdditionalProjectSources>$out</RestoreAdditionalProjectSources>"

# 1. the library
mkdir "$work/lib"
cat >"$work/lib/Proof.csproj" <<XML
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><OutputType>Exe</OutputType>$properties</PropertyGroup>
  <ItemGroup><PackageReference Include="KvCuda.Extensions" Version="$version" /></ItemGroup>
</Project>
XML
cat >"$work/lib/Program.cs" <<'CS'
using KvCuda.Engine;
using KvCuda.Extensions;
using KvCuda.Text;
using Microsoft.Extensions.AI;

await using var engine = await KvEngine.LoadAsync(args[0]);
await foreach (var piece in engine.GenerateAsync("Call me", new() { MaxTokens = 64 }))
    Console.Write(piece.Text);

IChatClient chat = engine.AsChatClient(new() { Format = ChatFormat.Continuation(engine.Tokenizer!) });
Console.Write("\n\nCall me" + await chat.GetResponseAsync("Call me", new() { MaxOutputTokens = 24 }));
CS
text=$(dotnet run --project "$work/lib/Proof.csproj" -v quiet -- "$root/weights/demo")
[ -n "$text" ] || { echo "pack: the fresh project printed nothing" >&2; exit 1; }
printf '%s\n\n' "Call me$text"

# 2. a service
mkdir "$work/service"
cat >"$work/service/Service.csproj" <<XML
<Project Sdk="Microsoft.NET.Sdk.Web">
  <PropertyGroup>$properties<CreateSlimBuilder>true</CreateSlimBuilder></PropertyGroup>
  <ItemGroup><PackageReference Include="KvCuda.Extensions" Version="$version" /></ItemGroup>
</Project>
XML
cat >"$work/service/Program.cs" <<'CS'
using KvCuda.Extensions;
using Microsoft.Extensions.AI;

var builder = WebApplication.CreateSlimBuilder(args);
builder.Services.AddKvCuda().BindConfiguration("KvCuda");
var app = builder.Build();
app.MapGet("/ask", async (HttpContext context, IChatClient chat) =>
{
    ChatResponse answer = await chat.GetResponseAsync(context.Request.Query["q"].ToString());
    await context.Response.WriteAsync($"{answer.ModelId}|{answer.Usage!.OutputTokenCount}|{answer.Text}");
});
app.Run();
CS
cp -r "$root/weights/demo" "$work/model"
cat >"$work/service/appsettings.json" <<JSON
{ "KvCuda": { "ModelPath": "$work/model", "PlainContinuation": true,
    "Engine": { "Device": "cpu", "MaxSequences": 3 }, "Chat": { "ModelId": "whale", "Generate": { "MaxTokens": 11 } } } }
JSON
answer() { # FOLDER: starts the service there, asks it, prints the answer
    local port=$((20000 + RANDOM % 20000)) reply=
    (cd "$1" && exec ./Service --urls "http://127.0.0.1:$port") >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 120); do
        reply=$(curl -sf "http://127.0.0.1:$port/ask?q=Call%20me" || true)
        [ -z "$reply" ] || break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.5
    done
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
    [[ "$reply" == "whale|11|"* ]] || { echo "pack: the service in $1 did not answer with its settings: '$reply'" >&2; cat "$work/log" >&2; exit 1; }
    echo "${reply#whale|11|}"
}
publish() { # NAME, PROPERTIES..
    local name=$1
    shift
    dotnet publish "$work/service" -c Release -r linux-x64 --nologo -v quiet -o "$work/$name" "$@" >"$work/$name.log" 2>&1 || return 1
    if grep -E 'warning IL[0-9]+.*KvCuda' "$work/$name.log" | sort -u | head -5 | grep .; then
        echo "pack: these trim warnings of the $name publish are ours" >&2
        exit 1
    fi
}
publish plain --self-contained false || { cat "$work/plain.log" >&2; exit 1; }
plain=$(answer "$work/plain")
echo "a service configured by appsettings.json: $plain"
proven="as it is"
publish trimmed -p:PublishTrimmed=true --self-contained true || { tail -20 "$work/trimmed.log" >&2; exit 1; }
[ "$(answer "$work/trimmed")" = "$plain" ] || { echo "pack: trimmed, the service answers otherwise" >&2; exit 1; }
proven+=", trimmed"
if publish aot -p:PublishAot=true; then
    [ "$(answer "$work/aot")" = "$plain" ] || { echo "pack: compiled ahead of time, the service answers otherwise" >&2; exit 1; }
    proven+=", ahead of time"
elif grep -qE 'ILCompiler|NU110|linker|clang|gcc' "$work/aot.log" && ! grep -q 'error IL' "$work/aot.log"; then
    echo "pack: left out: nothing can be compiled ahead of time here: $(grep -m1 -E 'error' "$work/aot.log" | cut -c1-200)"
else
    cat "$work/aot.log" >&2
    exit 1
fi

# 3. the command
dotnet tool install KvCuda.Cli --version "$version" --tool-path "$work/tools" --add-source "$out" >/dev/null
"$work/tools/kvcuda" inspect "$root/weights/demo" | head -4
echo "$version: the library, a service ($proven) and the tool answered."
