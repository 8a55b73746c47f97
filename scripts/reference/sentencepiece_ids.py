"""Reference token ids of SentencePiece vocabularies, from the sentencepiece and tokenizers packages.

Run by hand; the output is committed and read by the tests of crates/engine:

    python -m venv venv && venv/bin/pip install sentencepiece tokenizers protobuf
    venv/bin/python scripts/reference/sentencepiece_ids.py crates/engine/tests/data/sentencepiece.json

Two BPE vocabularies of 500 pieces with byte fallback are trained on the repository's own pages:

* `llama`: a space is put before the text, as Llama 2, Mistral 7B and Phi 3 have it;
* `gemma`: it is not, and runs of spaces and line ends are user-defined pieces, as Gemma has it.

Stored are what a GGUF file would hold (pieces, scores, kinds) and the ids and the decoded text of
strings. For `llama` there are also the ids that the tokenizers package gives for each of the forms in
which a tokenizer.json writes such a vocabulary, special tokens parsed.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece as spm
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]
KINDS = dict(normal=1, unknown=2, control=3, user=4, unused=5, byte=6)
SPACE = "\u2581"

TEXTS = [
    "", " ", "  ", "   leading", "trailing   ", "\n", "\n\n\n", "a\nb\n\nc\r\nd\te", "hello world",
    "The model reads the prompt.", " the layer  and   the    cache", "the\u2581cache", "\u2581", "naïve façade",
    "Привет, мир", "鯨の目", "\U0001F40B\U0001F3FD", "\U0001F468\u200D\U0001F469\u200D\U0001F467", "e\u0301", "\0\x07",
    "\ufeffmark", "\ufffd", "<0x0A>", "<s> is not a token </s>", "<|end|>", "aaaaaaaaaaaaaaaa", "tokentokentoken",
    "x" * 70, "1234567890", "𝕬𝖇", "\u00a0nbsp\u3000wide", "don't\tstop", "{\n    \"a\": [1, 2]\n}\n",
]  # fmt: skip
SPECIAL = [
    "<s>hello", "<s> hello", "hello</s>world", "hello</s> world", "<|user|>the layer<|end|>\nthe cache", "</s></s>",
    "the <|end|> the", " <s>x",
]  # fmt: skip


def train(**options):
    text = "\n".join(p.read_text() for p in sorted([ROOT / "AGENTS.md", ROOT / "LICENSE-APACHE", ROOT / "docs/policies.md"]))
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()), model_writer=model, vocab_size=500, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        character_coverage=0.999, allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2, **options,
    )  # fmt: skip
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


def pieces(sp, user=()):
    def kind(i):
        if sp.is_unknown(i):
            return KINDS["unknown"]
        if sp.is_control(i):
            return KINDS["control"]
        if sp.is_byte(i):
            return KINDS["byte"]
        return KINDS["user"] if sp.id_to_piece(i) in user else KINDS["normal"]

    ids = range(sp.get_piece_size())
    return dict(
        pieces=[sp.id_to_piece(i) for i in ids], scores=[sp.get_score(i) for i in ids], kinds=[kind(i) for i in ids]
    )


def cases(sp):
    return [dict(text=t, ids=sp.encode(t), decoded=sp.decode(sp.encode(t))) for t in TEXTS]


def merges(vocabulary):
    """Every split of a normal piece into two, the best piece first."""
    ids = {p: i for i, (p, k) in enumerate(zip(vocabulary["pieces"], vocabulary["kinds"])) if k in (1, 4)}
    found = []
    for piece, i in ids.items():
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ids and right in ids:
                found.append((-vocabulary["scores"][i], -len(left), left, right))
    found.sort(key=lambda m: m[:2])
    return [m[2:] for m in found]


def json_forms(vocabulary):
    def build(normalizer, pre_tokenizer, decoder):
        ids = {piece: i for i, piece in enumerate(vocabulary["pieces"])}
        bpe = models.BPE(ids, merges(vocabulary), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        tokenizer = Tokenizer(bpe)
        if normalizer:
            tokenizer.normalizer = normalizer
        if pre_tokenizer:
            tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoder
        special = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
        special.append(AddedToken("<|user|>", special=True, normalized=False))
        special.append(AddedToken("<|end|>", special=True, normalized=False, rstrip=True))
        tokenizer.add_special_tokens(special)
        return tokenizer

    replace = normalizers.Replace(" ", SPACE)
    strip = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    forms = dict(
        prepend=build(
            normalizers.Sequence([normalizers.Prepend(SPACE), replace]), None, decoders.Sequence(strip)
        ),
        metaspace_first=build(
            None, pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False), decoders.Sequence(strip)
        ),
        metaspace_always=build(
            None, pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=False), decoders.Sequence(strip)
        ),
        plain=build(
            replace, pre_tokenizers.Split(" ", "merged_with_previous"), decoders.Sequence(strip[:3])
        ),
    )  # fmt: skip
    return {
        name: dict(
            normalizer=json.loads(tokenizer.to_str())["normalizer"],
            pre_tokenizer=json.loads(tokenizer.to_str())["pre_tokenizer"],
            decoder=json.loads(tokenizer.to_str())["decoder"],
            cases=[dict(text=t, ids=tokenizer.encode(t, add_special_tokens=False).ids) for t in TEXTS + SPECIAL],
        )
        for name, tokenizer in forms.items()
    }


def main(path):
    llama = train(add_dummy_prefix=True)
    runs = ["\n" * n for n in range(1, 6)] + [SPACE * n for n in range(2, 6)]
    gemma = train(
        add_dummy_prefix=False, user_defined_symbols=runs, control_symbols=["<start_of_turn>", "<end_of_turn>"]
    )
    vocabulary = pieces(llama)
    out = dict(
        llama=dict(vocabulary, cases=cases(llama), json=json_forms(vocabulary)),
        gemma=dict(pieces(gemma, runs), cases=cases(gemma)),
    )
    Path(path).write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
