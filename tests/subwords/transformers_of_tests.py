"""Transformers that tests make, with weights drawn at random: a BERT that cuts words into letters, a RoBERTa."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import RobertaProcessing
from transformers import BertConfig, BertModel, BertTokenizerFast, RobertaConfig, RobertaModel, RobertaTokenizerFast

SIZE = 16
POSITIONS = 24


def make_bert(path: Path, positions: int = POSITIONS) -> str:
    """The words "met" and "in" are one subword, others as many as they have letters; a zero-width space is none."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "met", "in", *letters, *(f"##{one}" for one in letters)]
    path.mkdir(parents=True)
    (path / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(path / "vocab.txt"), do_lower_case=False).save_pretrained(path)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=SIZE,
        max_position_embeddings=positions,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(path)
    return str(path)


def make_roberta(path: Path, positions: int = POSITIONS) -> str:
    """Byte-level; its first two positions are of no subword."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bpe = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    RobertaTokenizerFast(tokenizer_object=bpe).save_pretrained(path)
    torch.manual_seed(1)
    config = RobertaConfig(
        vocab_size=len(pieces) + 1,
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=SIZE,
        max_position_embeddings=positions + 2,
        initializer_range=0.5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaModel(config).save_pretrained(path)
    return str(path)


MAKERS = {"bert": make_bert, "roberta": make_roberta}
