#!/usr/bin/env bash
# Makes the NuGet packages and proves them: a fresh project that knows nothing of this repository references them, and the README's
# lines print text from the bundled model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=artifacts/package
rm -rf "$out"
mkdir -p "$out"
for project in KvCuda KvCuda.Extensions; do
    dotnet pack src/$project -c Release --nologo -v quiet -o "$out"
done
package=$(ls "$out"/KvCuda.Extensions.*.nupkg)
version=$(basename "$package" .nupkg)
version=${version#KvCuda.Extensions.}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/Proof.csproj" <<XML
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>net10.0</TargetFramework>
    <ImplicitUsings>enable</ImplicitUsings>
    <InvariantGlobalization>true</InvariantGlobalization>
    <RestorePackagesPath>$work/packages</RestorePackagesPath>
    <RestoreAdditionalProjectSources>$PWD/$out</RestoreAdditionalProjectSources>
  </PropertyGroup>
  <ItemGroup>
    <PackageReference Include="KvCuda.Extensions" Version="$version" />
  </ItemGroup>
</Project>
XML
cat >"$work/Program.cs" <<'CS'
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
text=$(dotnet run --project "$work/Proof.csproj" -v quiet -- "$PWD/weights/demo")
[ -n "$text" ] || { echo "pack: the fresh project printed nothing" >&2; exit 1; }
printf '%s\n\n' "Call me$text"
echo "$(ls "$out"/*.nupkg | tr '\n' ' '): a fresh project that references them printed the text above."
