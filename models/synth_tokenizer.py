"""A small tokenizer in the style of Qwen2's, for checkpoints with random weights.

Same normaliser, same split, byte level, same added tokens as the published Qwen3-VL tokenizer, but
a vocabulary of a few thousand pieces learnt from the word list below. Every word of the list is
one token, anything else falls apart into pieces and in the end into bytes: no text is out of reach.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen2 tokenizers cut text before merging; a fact of the published tokenizer.json."""

CONTROL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
"""Added tokens that are special, in the published order of ids."""

MARKUP_TOKENS = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
)  # fmt: skip
"""Added tokens that are not special, following the others."""

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- for part in ([message.content] if message.content is string else message.content) %}
{%- if part is string %}{{ part }}
{%- elif 'image' in part or part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'video' in part or part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- else %}{{ part.text }}
{%- endif %}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def train_tokenizer() -> Tokenizer:
    """The tokenizer; the same one every time."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    added = _added_tokens()
    tokenizer.add_special_tokens(added[: len(CONTROL_TOKENS)])
    tokenizer.add_tokens(added[len(CONTROL_TOKENS) :])
    return tokenizer


def write_tokenizer(directory: Path, tokenizer_json: str) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    (directory / "tokenizer.json").write_text(tokenizer_json + "\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "add_prefix_space": False,
        "additional_special_tokens": list(CONTROL_TOKENS[1:]),
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 262_144,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _added_tokens() -> list[Any]:
    from tokenizers import AddedToken

    control = [AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS]
    return control + [AddedToken(text, special=False, normalized=False) for text in MARKUP_TOKENS]


def _corpus() -> Iterator[str]:
    """Each word as it stands inside a sentence, and some as they stand at its beginning."""
    yield from (f" {word}" for word in _WORDS.split())
    yield from _OPENINGS.split()


_OPENINGS = """
yes no a an the what which who where when why how is are find show list photo picture image video
page chart table document query instruct given judge system user assistant Judge Document Query
Instruct Given What Which Who Where When Why How Find Show The A An In On It This NULL seconds
"""

_WORDS = """
Query Document Instruct Note NULL assistant user system
the a an and or of to in on at by for from with without into over under between above below behind
near beside inside outside across along around through before after during until since against
about as than then that this these those it its they them their he she his her we us our you your
is are was were be been being has have had do does did can could may might must shall should will
would not no yes only also very more most less least many much few some any all each every both
either neither other another same such own too so if because while although but who whom whose
what which where when why how here there now never always often sometimes again once
judge meets requirements based provided answer answers question given search retrieve relevant
candidates candidate whether instruction following match matches result results rank score similar
best worst better worse good bad correct wrong true false
find show list read write look see watch hear say tell ask give take make made use used using need
want keep hold open close start stop begin end run walk go went come came move turn stand sit lie
sleep eat drink cook play work learn teach build break cut draw paint count measure compare explain
describe contain include change grow fall rise rain ride drive fly swim jump throw catch carry push
pull wear buy sell pay cost help call send bring leave enter return follow lead meet
red green blue yellow orange purple pink brown black white gray grey silver gold dark light bright
circle square triangle rectangle star ring line dot cross arrow diamond oval cube sphere cone
shape shapes corner edge side top bottom left right middle center centre front back upper lower
one two three four five six seven eight nine ten eleven twelve hundred thousand million half third
first second last next single double zero number numbers
big small large little tall short long wide narrow high low deep thin thick heavy full empty new
old young hot cold warm cool wet dry fast slow early late easy hard soft loud quiet clean dirty rich
poor strong weak sweet round flat sharp smooth rough
man woman men women child children boy girl person people family friend baby player doctor teacher
dog cat horse cow sheep pig bird fish bear elephant lion tiger monkey mouse rabbit snake frog bee
animal animals tree trees flower flowers grass leaf forest mountain river lake sea ocean beach
island desert sky cloud clouds sun moon stars snow ice wind storm fire water earth stone sand field
garden park farm road street bridge city town village country house home building tower wall door
window roof room kitchen bedroom bathroom floor table chair bed desk lamp clock mirror picture
school office shop store market hospital church station airport hotel restaurant museum library
car bus truck train plane boat ship bicycle bike motorcycle wheel engine ticket map
ball game team sport football baseball basketball tennis golf skateboard surfboard snowboard ski
bread cheese meat chicken rice soup salad fruit apple banana lemon grape tomato potato carrot onion
pizza sandwich cake pie egg eggs milk tea coffee juice wine beer sugar salt plate bowl cup glass
bottle knife fork spoon food dinner lunch breakfast
hat shirt dress coat shoe shoes bag box book phone computer screen keyboard camera paper pen pencil
key toy umbrella blanket towel
head face eye eyes ear nose mouth hair hand hands arm leg foot feet body heart
page pages document documents text title word words letter sentence paragraph chapter section
figure table chart graph diagram plot bar pie axis legend column row rows value values total average
sum percent percentage rate ratio price amount sales revenue profit growth income tax budget report
summary study paper article review abstract introduction method conclusion reference author date
name address city email invoice receipt contract form letter order account bank market company
image images photo photos picture pictures video videos clip frame frames scene scenes shot view
seconds minutes hours day days week month year years time morning noon evening night today tomorrow
january february march april may june july august september october november december
monday tuesday wednesday thursday friday saturday sunday
spring summer autumn winter north south east west world
data model models system network computer software science history music art film story song news
language english french german spanish chinese japanese energy power heat speed weight height
length size area space color colour colors sound test example list set group part kind type way
place point level case fact idea problem reason
"""
