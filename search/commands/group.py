"""The command line: which commands there are, and how the process ends."""

import signal
import sys
import threading
from importlib import import_module
from typing import Any

import click

from search import __version__
from search.commands.options import LINES
from search.commands.output import Output
from search.errors import Halted, TryAgain, UserError, of_full_disk
from search.text import complain, without_passwords, without_urls

READER_GONE = 141  # what a shell shows for a program that SIGPIPE ended
COMMANDS = {  # in the order of use; each is `command` in the module of its name
    "search": "Search and export the best configuration. What study.py does without a command.",
    "fetch-base": "Download XTTS-v2, the base to fine-tune.",
    "check": "Check data, base and machine before a search.",
    "extend-vocab": "Make a base with tokens for a new language.",
    "confirm": "Find the rate in full runs, and prove the winner.",
    "export": "Write the configuration for the full run.",
    "train": "Train in full with an exported configuration.",
    "pause": "Let no new trial start, on any machine.",
    "resume": "Lift a pause or a stop.",
    "stop": "End all searches of a study, or one trial.",
    "enqueue": "Queue points that the search is to try next.",
    "list": "List the studies of a database.",
    "status": "Show what a study has found so far.",
    "report": "Write a study as one page.",
    "dashboard": "Show the study in a browser.",
    "tensorboard": "Show the curves of a study's runs in TensorBoard.",
    "replay": "Run a trial again in the foreground.",
    "checkpoints": "Measure the checkpoints of any run, and correct its logs.",
    "database": "Serve a PostgreSQL of your own, for several machines.",
    "slurm": "Write a Slurm job array that searches.",
    "cache": "Show or clear what searches keep on this machine.",
}


class Commands(click.Group):
    """Imports a command when it is called: Optuna alone takes a second."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"search.commands.{name.replace('-', '_')}").command
        return command

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Options without a command are those of `search`."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            if args and args[-1] in COMMANDS:
                raise click.UsageError(f"options go after the command: study.py {args[-1]} …", context)
            args = ["search", *args]
        return super().parse_args(context, args)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of `search`, then the commands."""
        search = self.get_command(context, "search")
        assert search is not None
        own = [p.get_help_record(context) for p in (*search.params, *self.get_params(context))]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record])
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xtts-study")
def study() -> None:
    """Search learning rate, weight decay, milestones and gradient clipping for an XTTS-v2 fine-tune.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """


def main() -> None:
    """One clear line for what is not a fault of this program; the exit codes are in docs/operations.md."""
    output = Output()
    sys.unraisablehook = _keep_interrupt
    try:
        code = _run(output)
    except (BrokenPipeError, SystemExit):  # the reader of our output has gone; click makes an exit of it
        code = READER_GONE
    finally:
        output.close()
    if code == READER_GONE:
        sys.stderr.close()  # or Python would complain that it cannot flush stdout
    sys.exit(code)


def _keep_interrupt(lost: Any) -> None:
    """A Ctrl-C that comes while Python collects garbage would be told and forgotten: it comes again."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        here = threading.main_thread().ident
        again = threading.Timer(
            0.1, signal.pthread_kill, [here, signal.SIGINT]
        )  # at once it would be lost in here, too
        again.start()
    else:
        sys.__unraisablehook__(lost)


def _run(output: Output) -> int:
    """The exit code. Listeners hear of every end but a kill."""
    try:
        return study(standalone_mode=False, obj=output) or 0
    except (click.Abort, KeyboardInterrupt):
        output.over("stopped", exit_code=130)
        return 130
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        if context and "--json" in sys.argv:  # click may have given up before it came to this option
            named = context.command
            output.wants_lines |= named is study or any(parameter.name == LINES for parameter in named.params)
        failure = UserError(without_urls(error.format_message()))
    except UserError as error:
        failure = error
    except Exception as error:
        if (full := of_full_disk(error)) is None:
            output.over("error", message=f"a fault of this program: {type(error).__name__}", details=[])
            raise
        named = full.filename or "a file of this machine"
        failure = TryAgain(f"{named} cannot be written ({full.strerror}); free space, then run the same command again")
    message, *details = map(without_passwords, (str(failure), *failure.details))
    complain(message, *details)
    if isinstance(failure, Halted):
        output.over("stopped", exit_code=failure.exit_code)
    else:
        output.over("error", message=message, details=details)
    return failure.exit_code
