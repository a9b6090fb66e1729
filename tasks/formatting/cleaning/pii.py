"""Personal data and keys in texts, by shapes that are known: found and masked, never shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

MASKS = {
    "key": "[KEY]", "email": "[EMAIL]", "card": "[CARD]", "ip": "[IP]", "phone": "[PHONE]",
}  # fmt: skip

# Cheap to look for: what a match of the patterns below must hold.
KEY_BEGINNINGS = (
    "-----BEGIN ", "AKIA", "ASIA", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_", "glpat-",
    "sk-", "k_live_", "k_test_", "hf_", "xox", "AIza", "npm_", "pypi-", "SG.", "eyJ",
)  # fmt: skip
NUMBER = re.compile(r"[0-9][0-9 ()./-]{5,}[0-9]")

# Where a pattern begins with the characters that a match may begin with, and looks behind them
# after, the search passes over all other characters several times as fast.
KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----|.*)"  # or to the end, if cut
    r"|(?<![A-Za-z0-9_])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[opsur]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{40,255}"
    r"|glpat-[A-Za-z0-9_-]{20,255}"
    # Slugs and CSS classes begin with sk- too, but hold no digits and capitals.
    r"|sk-(?=[A-Za-z_-]{0,250}[0-9])(?=[a-z0-9_-]{0,250}[A-Z])[A-Za-z0-9_-]{20,255}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}"  # Stripe
    r"|hf_[A-Za-z0-9]{30,255}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,255}"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}"  # Google
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255}"
    r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"  # SendGrid
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,2000}"  # JWT
    r")(?![A-Za-z0-9_])",
    re.DOTALL,
)
# git@ stands in the addresses of repositories and is nobody's.
EMAIL = re.compile(
    r"(?<![\w.%+-])(?!git@)[\w.%+-]{1,64}+@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"
)
CARD = re.compile(r"[2-6](?<![\w.+-].)(?:[ -]?[0-9]){12,18}(?![\w-]|\.[0-9])")
# Lengths by issuer: ISO/IEC 7812 issuer numbers of Visa, Mastercard, American Express, Discover,
# JCB, UnionPay and Diners Club.
ISSUERS = re.compile(
    r"4[0-9]{12}(?:[0-9]{3}){0,2}|(?:5[1-5]|2[2-7])[0-9]{14}|3[47][0-9]{13}"
    r"|(?:6011|64[4-9]|65|35|62)[0-9]{12,17}|3(?:0[0-5]|[689])[0-9]{11,16}"
)
IP = re.compile(r"[0-9](?<![\w.-].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![\w-]|\.[0-9])")
PHONE = re.compile(
    r"[+(0-9](?<![\w.+/-].)(?:"
    r"(?:(?<=\+)|(?<=0)0)[1-9][0-9]{0,2}[ ./-]?(?:\([0-9]{1,4}\)[ ./-]?)?"  # + or 00
    r"[0-9]{1,12}(?:[ ./-][0-9]{1,8}){0,5}"
    r"|(?:(?<=1)[ .-]\([2-9][0-9]{2}\) ?|(?<=1)[ .-][2-9][0-9]{2}[ .-]|(?<=\()[2-9][0-9]{2}\) ?"
    r"|(?<=[2-9])[0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"  # (415) 555-2671
    r"|(?<=0)[1-9](?:[ .-][0-9]{2}){4}"  # 06 12 34 56 78
    r"|(?:(?<=0)|(?<=\()0)[1-9][0-9]{1,3}\)?[ /-][0-9]{3,8}(?:[ -][0-9]{2,6})?"  # 030/1234567
    r")(?![\w-]|\.[0-9])"
)
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 8, 15  # ITU-T E.164: at most 15


def mask_pii(text: str) -> tuple[str, frozenset[str]]:
    """Return a text with personal data and keys masked, and which kinds there were.

    E-mail addresses; payment cards that an issuer could have given out and whose check digit is
    right (Luhn); public IPv4 addresses; phone numbers in international, US and common European
    notation; keys whose kind their beginning tells, and private keys in PEM.

    >>> mask_pii("Write to ada@example.org.")
    ('Write to [EMAIL].', frozenset({'email'}))
    """
    found: set[str] = set()
    for kind, pattern in _list_patterns(text):

        def mask(match: re.Match[str], kind: str = kind) -> str:
            if not CHECKS[kind](match.group()):
                return match.group()
            found.add(kind)
            return MASKS[kind]

        text = pattern.sub(mask, text)
    return text, frozenset(found)


def is_card(text: str) -> bool:
    """Return whether digits are of an issuer's length and range, with the right check digit.

    Source: ISO/IEC 7812-1, annex B (Luhn).

    >>> is_card("4111 1111 1111 1111"), is_card("4111 1111 1111 1112")
    (True, False)
    """
    digits = re.sub("[ -]", "", text)
    if not ISSUERS.fullmatch(digits):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_public_address(text: str) -> bool:
    """Return whether digits are an IPv4 address that is not private, local or reserved."""
    parts = text.split(".")
    is_plain = all(part == str(int(part)) and int(part) < 256 for part in parts)
    return is_plain and IPv4Address(text).is_global


def is_phone(text: str) -> bool:
    """Return whether a number has as many digits as phone numbers have."""
    digits = sum(char.isdigit() for char in text.removeprefix("00"))
    return MIN_PHONE_DIGITS <= digits <= MAX_PHONE_DIGITS


def _list_patterns(text: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    if any(beginning in text for beginning in KEY_BEGINNINGS):
        yield "key", KEY
    if "@" in text:
        yield "email", EMAIL
    if NUMBER.search(text):
        yield from (("card", CARD), ("ip", IP), ("phone", PHONE))


CHECKS: dict[str, Callable[[str], bool]] = {
    "key": bool, "email": bool, "card": is_card, "ip": is_public_address, "phone": is_phone,
}  # fmt: skip
