"""Completion scripts, static, from the parsers: whatever is a flag there is offered here."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fastws.config import SETTINGS

# Metavars and settings that stand for a path.
_FILES: Final = frozenset({"FILE", "DIR", "PATH", "tls_cert", "tls_key", "unix_socket", "jwt_public_key"})


@dataclass(slots=True, frozen=True)
class Flag:
    """`names` begin with dashes. A flag that takes a value has `choices`, or a file, or something unknown for it."""

    names: tuple[str, ...]
    meaning: str
    takes_value: bool
    choices: tuple[str, ...]
    is_file: bool


@dataclass(slots=True, frozen=True)
class Command:
    """A subcommand. `words` are what its arguments may be, where that is known; else they may be files or not."""

    name: str
    meaning: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]
    takes_files: bool


def read_commands(parser: argparse.ArgumentParser) -> list[Command]:
    """Every subcommand of `parser`, in order."""
    commands = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            meanings = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, subparser in action.choices.items():
                commands.append(_read(name, meanings.get(name, ""), subparser))
    return commands


def _read(name: str, meaning: str, parser: argparse.ArgumentParser) -> Command:
    flags: list[Flag] = []
    words: list[str] = []
    takes_files = False
    for action in parser._actions:
        choices = tuple(str(choice) for choice in action.choices or ()) or _choices_of_setting(action.dest)
        is_file = not _FILES.isdisjoint((str(action.metavar), action.dest))
        if action.option_strings:
            takes_value = action.nargs != 0
            help_text = "" if action.help is None else action.help
            flags.append(Flag(tuple(action.option_strings), _short(help_text), takes_value, choices, is_file))
        else:
            words += choices
            takes_files |= is_file and not choices
    return Command(name, _short(meaning), tuple(flags), tuple(words), takes_files)


def _choices_of_setting(name: str) -> tuple[str, ...]:
    """What a setting may be, where few values are possible."""
    setting = SETTINGS.get(name)
    if setting is None:
        return ()
    if setting.scalar is bool:
        return ("true", "false")
    choices = setting.choices
    return choices


def _short(text: str) -> str:
    """The first clause, without what a shell could take for its own."""
    return re.sub(
        r"[`'\"\\\[\]:$]", "", re.split(r"[;(]| \[|\.$|\. ", text)[0].replace("%%", "%").replace("'", "’")
    ).strip()


def bash(commands: list[Command]) -> str:
    """A completion function for bash 4 and later."""
    cases = []
    for command in commands:
        after = [
            f"        {'|'.join(flag.names)}) {_bash_value(flag)}; return ;;"
            for flag in command.flags
            if flag.takes_value
        ]
        words = " ".join([*command.words, *(name for flag in command.flags for name in flag.names)])
        files = " -f" if command.takes_files else ""
        cases.append(
            f"    {command.name})\n"
            + ("      case $previous in\n" + "\n".join(after) + "\n      esac\n" if after else "")
            + f"      COMPREPLY=($(compgen{files} -W '{words}' -- \"$word\")) ;;"
        )
    names = " ".join(command.name for command in commands)
    return (
        "# bash completion of fastws: source <(fastws completion bash)\n"
        "_fastws() {\n"
        "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
        '  if [ "$COMP_CWORD" -eq 1 ]; then\n'
        f"    COMPREPLY=($(compgen -W '{names} --help --version' -- \"$word\"))\n"
        "    return\n"
        "  fi\n"
        "  case ${COMP_WORDS[1]} in\n" + "\n".join(cases) + "\n  esac\n}\ncomplete -F _fastws fastws\n"
    )


def _bash_value(flag: Flag) -> str:
    if flag.choices:
        return f"COMPREPLY=($(compgen -W '{' '.join(flag.choices)}' -- \"$word\"))"
    return 'COMPREPLY=($(compgen -f -- "$word"))' if flag.is_file else "COMPREPLY=()"


def zsh(commands: list[Command]) -> str:
    """A completion function for zsh; works in a file of $fpath and sourced."""
    names = "\n".join(f"    '{command.name}:{command.meaning}'" for command in commands)
    cases = "\n".join(
        f"    {command.name})\n      _arguments \\\n"
        + " \\\n".join([f"        {_zsh_flag(flag)}" for flag in command.flags] + [f"        {_zsh_words(command)}"])
        + "\n      ;;"
        for command in commands
    )
    return (
        "#compdef fastws\n"
        '# zsh completion of fastws: fastws completion zsh > "${fpath[1]}/_fastws"\n'
        "_fastws() {\n"
        "  local -a commands=(\n" + names + "\n  )\n"
        "  if (( CURRENT == 2 )); then\n"
        "    _describe command commands\n"
        "    return\n"
        "  fi\n"
        "  local command=$words[2]\n"
        "  shift words\n"
        "  (( CURRENT-- ))\n"
        "  case $command in\n" + cases + "\n  esac\n"
        "}\n"
        'if [ "$funcstack[1]" = _fastws ]; then _fastws "$@"; else compdef _fastws fastws; fi\n'
    )


def _zsh_flag(flag: Flag) -> str:
    value = ""
    if flag.takes_value:
        value = f":value:({' '.join(flag.choices)})" if flag.choices else ":file:_files" if flag.is_file else ":value: "
    names = flag.names[0] if len(flag.names) == 1 else "{" + ",".join(flag.names) + "}"
    return f"{names}'[{flag.meaning}]{value}'"


def _zsh_words(command: Command) -> str:
    if command.words:
        return f"'*:argument:({' '.join(command.words)})'"
    return "'*:file:_files'" if command.takes_files else "'*:argument: '"


def fish(commands: list[Command]) -> str:
    """`complete` lines for fish."""
    names = " ".join(command.name for command in commands)
    lines = [
        "# fish completion of fastws: fastws completion fish > ~/.config/fish/completions/fastws.fish",
        "complete -c fastws -f",
        f"complete -c fastws -n 'not __fish_seen_subcommand_from {names}' -l help -d 'say what there is'",
        f"complete -c fastws -n 'not __fish_seen_subcommand_from {names}' -l version -d 'say which version'",
    ]
    for command in commands:
        lines.append(f"complete -c fastws -n __fish_use_subcommand -a {command.name} -d '{command.meaning}'")
        here = f"complete -c fastws -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"{here} -a '{' '.join(command.words)}'")
        if command.takes_files:
            lines.append(f"{here} -F")
        lines += [f"{here} {_fish_flag(flag)}" for flag in command.flags]
    return "\n".join(lines) + "\n"


def _fish_flag(flag: Flag) -> str:
    parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names]
    if flag.takes_value:
        parts.append("-x -a '" + " ".join(flag.choices) + "'" if flag.choices else "-r -F" if flag.is_file else "-x")
    return " ".join([*parts, f"-d '{flag.meaning}'"])


SCRIPTS: Final[Mapping[str, Callable[[list[Command]], str]]] = {"bash": bash, "fish": fish, "zsh": zsh}
