#!/usr/bin/env bash
# Makes the NuGet package of the library and proves it: a fresh project that knows nothing of this repository references the
# package, and the README's three lines print text from the bundled model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=artifacts/package
rm -rf "$out"
mkdir -p "$out"
dotnet pack src/KvCuda -c Release --nologo -v quiet -o "$out"
package=$(ls "$out"/KvCuda.*.nupkg)
version=$(basename "$package" .nupkg)
version=${version#KvCuda.}

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
    <PackageReference Include="KvCuda" Version="$version" />
  </ItemGroup>
</Project>
XML
cat >"$work/Program.cs" <<'CS'
using KvCuda.Engine;

await using var engine = await KvEngine.LoadAsync(args[0]);
await foreach (var piece in engine.GenerateAsync("Call me", new() { MaxTokens = 64 }))
    Console.Write(piece.Text);
CS
text=$(dotnet run --project "$work/Proof.csproj" -v quiet -- "$PWD/weights/demo")
[ -n "$text" ] || { echo "pack: the fresh project printed nothing" >&2; exit 1; }
printf '%s\n\n' "Call me$text"
echo "$package: a fresh project that references it printed the text above."
