"""Codes of languages (BCP 47, whose languages are those of ISO 639): what people write, and what a base calls it.

`langcodes` knows which codes mean the same and which language a country most likely speaks; names come from the
registry that it holds. It is imported where it is needed: most commands do without.
"""

import re
from collections.abc import Collection
from functools import cache

_FORM = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
_PRIVATE = re.compile(r"q[a-t][a-z]")  # ISO 639-2 reserves these for languages that have no code


def spelled(text: str) -> str:
    """A code in lower case with hyphens, like "pt-br". Raises ValueError for another text, with what it may mean."""
    code = text.strip().lower().replace("_", "-")
    if not _FORM.fullmatch(code):
        found = next((c for c, names in _registry()[0].items() if code in map(str.lower, names)), None)
        hint = f"; did you mean {described(found)}?" if found else ""
        raise ValueError(f'it must be a language code, like "am" or "zh-cn"{hint}')
    return code


def is_language(code: str) -> bool:
    """Whether it is the code of one language, an old one included, and not that of a country or of a group."""
    return bool(_names(code) or _PRIVATE.fullmatch(code.split("-")[0]))


def resolved(code: str, known: Collection[str]) -> str:
    """What a base with the languages `known` calls the language; of one that it does not know, today's code.

    coqui has one tag for all regions of a language, so a region never makes another language.
    """
    if code in known:
        return code
    same = sorted(each for each in known if _standard(each) == _standard(code))
    languages, old, _ = _registry()
    primary = code.split("-")[0]
    return same[0] if same else primary if primary in languages.keys() - old else _standard(code)


def meant(code: str, known: Collection[str]) -> list[str]:
    """The languages that may be meant by what is no language's code: a country's, or the beginning of a name.

    Of a country's, the one that it is named after comes first: kz is Kazakhstan, where most speak Russian.
    """
    languages, _, countries = _registry()
    country = countries.get(code.split("-")[0].upper(), "")
    own = [each for each, names in languages.items() if len(each) == 2 and country.startswith(tuple(names))]
    spoken = _spoken_in(code)
    of_country = [resolved(each, known) for each in (*own, *([spoken] if spoken else []))]
    named = [each for each in sorted(known) if any(name.lower().startswith(code) for name in _names(each))]
    return list(dict.fromkeys([*of_country, *named]))


def confused(code: str, known: Collection[str]) -> str | None:
    """A known language whose country has this code, which is another language's: kr is Kanuri, and Korean is ko.

    Only where the language is at home in that country: "ca" is Catalan, and nobody means Canada's English.
    """
    if resolved(code, known) in known or not (spoken := _spoken_in(code)) or not _is_at_home(code):
        return None
    return found if (found := resolved(spoken, known)) in known else None


def name(code: str) -> str:
    """In English; the code itself where it has no name."""
    return (_names(code) or [code])[0]


def described(code: str) -> str:
    """'ja' (Japanese)."""
    return f"{code!r} ({name(code)})" if _names(code) else repr(code)


def _names(code: str) -> list[str]:
    languages = _registry()[0]
    return languages.get(code.split("-")[0]) or languages.get(_standard(code)) or []


def _standard(code: str) -> str:
    """Without region and script, today's and the shortest: iw is he, eng is en, cmn is zh. Any other text as it is."""
    from langcodes import LanguageTagError, standardize_tag

    try:
        return standardize_tag(code, macro=True).split("-")[0]
    except LanguageTagError:
        return code


def _spoken_in(code: str) -> str | None:
    """The language that most speak in the country of this code; None where it is no country's."""
    from langcodes import Language

    country = code.split("-")[0].upper()
    return Language.make(territory=country).maximize().language if country in _registry()[2] else None


def _is_at_home(code: str) -> bool:
    """Whether the country of this code is the one where its language, as written there, is spoken most."""
    from langcodes import Language

    country = code.split("-")[0].upper()
    there = Language.make(territory=country).maximize()
    return Language.make(language=there.language, script=there.script).maximize().territory == country


@cache
def _registry() -> tuple[dict[str, list[str]], set[str], dict[str, str]]:
    """(English names of each language by its code, codes that are out of use, name of each country by its code)."""
    from langcodes.registry_parser import parse_registry

    languages, old, countries = {}, set(), {}
    for entry in parse_registry():
        code, names = entry.get("Subtag", ""), [re.sub(r" \(.*\)", "", name) for name in entry["Description"]]
        if entry["Type"] == "language" and entry.get("Scope") not in ("special", "collection", "private-use"):
            languages[code] = names
            old |= {code} if "Deprecated" in entry else set()
        elif entry["Type"] == "region" and len(code) == 2 and names != ["Private use"]:
            countries[code] = names[0]
    return languages, old, countries
