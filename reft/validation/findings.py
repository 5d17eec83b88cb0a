"""What a row's text holds that a person should know of: keys and passwords, personal data, broken characters."""

import re
from functools import lru_cache
from typing import Any

# What UTF-8 looks like after somebody read it as Latin-1 or Windows-1252.
MOJIBAKE = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac[\u0153\u2122\u201c\u02dc\u00a6]|\ufffd")
EMAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b")
PHONE = re.compile(r"(?<![\w.])(?:\+|00)\d{1,3}[ -]?(?:\(?\d{2,4}\)?[ -]?){2,4}\d{2,4}(?!\w)")
CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
# What a match of the pattern above it must hold: cheaper to look for, and seldom there.
TWO_DIGITS, IBAN_BEGINS = re.compile(r"\d{2}"), re.compile(r"[A-Z]{2}\d{2}")
THIRTEEN_DIGITS = re.compile(r"\d(?:[ -]?\d){12}")
LONG_WORD = re.compile(r"\S{20}")
# A spreadsheet's formula that fetches, links or starts something. Sums and bullet points, which begin alike, are what
# honest rows hold: they do not count.
FORMULA = re.compile(
    r"[=+\-@\uff1d\uff0b\uff0d\uff20].{0,500}?(?<![A-Za-z])(?:"
    r"(?:HYPERLINK|WEBSERVICE|IMPORT(?:XML|DATA|HTML|FEED|RANGE)|IMAGE|RTD|DDE|EXEC|REGISTER\.ID)\("
    r"|[A-Za-z.]{2,20}\|'[^']{0,200}'!)",
    re.IGNORECASE | re.DOTALL,
)
# detect-secrets' detectors of secrets with a form of their own; its guesses by entropy flag ordinary words.
DETECTORS = (
    "aws.AWSKeyDetector", "azure_storage_key.AzureStorageKeyDetector", "discord.DiscordBotTokenDetector",
    "github_token.GitHubTokenDetector", "gitlab_token.GitLabTokenDetector", "jwt.JwtTokenDetector",
    "mailchimp.MailchimpDetector", "npm.NpmDetector", "openai.OpenAIDetector", "private_key.PrivateKeyDetector",
    "pypi_token.PypiTokenDetector", "sendgrid.SendGridDetector", "slack.SlackDetector",
    "square_oauth.SquareOAuthDetector", "stripe.StripeDetector", "telegram_token.TelegramBotTokenDetector",
    "twilio.TwilioKeyDetector",
)  # fmt: skip


def secrets_in(text: str) -> list[str]:
    """The kinds of secrets in the text (never the secrets themselves), in a fixed order."""
    if "BEGIN" not in text and not LONG_WORD.search(text):
        return []  # no word is long enough to be a key
    return [name for name, detector in _detectors() if any(True for _ in detector.analyze_string(text))]


@lru_cache(maxsize=1)
def _detectors() -> list[tuple[str, Any]]:
    from importlib import import_module

    found = []
    for path in DETECTORS:
        module, name = path.split(".")
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        found.append((detector.secret_type, detector))
    return found


def personal_data_in(text: str) -> list[str]:
    """The kinds of personal data in the text: addresses, telephone, card and account numbers with a right checksum."""
    found = []
    if "@" in text and EMAIL.search(text):
        found.append("e-mail address")
    if not TWO_DIGITS.search(text):
        return found
    numbers = []
    for name, may_hold, pattern, right in (
        ("bank account number", IBAN_BEGINS, IBAN, _iban), ("card number", THIRTEEN_DIGITS, CARD, _luhn),
    ):  # fmt: skip
        if may_hold.search(text) and any(right(match[0]) for match in pattern.finditer(text)):
            numbers.append(name)
            text = pattern.sub(" ", text)  # its groups of digits are no telephone number
    telephone = ("+" in text or "00" in text) and PHONE.search(text)
    return [*found, *(["telephone number"] if telephone else []), *numbers]


def _luhn(number: str) -> bool:
    digits = [int(c) for c in reversed(number) if c.isdigit()]
    total = sum(d if place % 2 == 0 else sum(divmod(2 * d, 10)) for place, d in enumerate(digits))
    return len(set(digits)) > 1 and total % 10 == 0


def _iban(number: str) -> bool:
    plain = number.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def is_formula(text: str) -> bool:
    """Whether the text, in a spreadsheet's cell, would fetch, link or start something."""
    return bool(FORMULA.match(text.lstrip()[:500]))


def is_mojibake(text: str) -> bool:
    """Whether the text was decoded in the wrong encoding, once."""
    return bool(MOJIBAKE.search(text))
