"""Writes small random BERT and DistilBERT directories, and what transformers makes of three inputs of each.

    pip install torch transformers safetensors && python make.py .

The directories here are those of torch 2.15.0 and transformers 5.24.0."""
import json, os, sys, torch
from safetensors.torch import save_file
from transformers import (BertConfig, BertModel, BertForSequenceClassification,
                          DistilBertConfig, DistilBertModel, DistilBertForSequenceClassification)
out = sys.argv[1]
torch.manual_seed(7)
INPUTS = [([2, 5, 9, 3], [0, 0, 0, 0]), ([2, 7, 3, 11, 4, 3], [0, 0, 0, 1, 1, 1]), ([2, 19, 18, 17, 16, 15, 14, 3], [0] * 8)]
def perturb(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
def save(name, model, config, dtype=torch.float32, extra=None, keep=lambda k: True):
    d = os.path.join(out, name); os.makedirs(d, exist_ok=True)
    model.eval(); perturb(model); model.to(dtype).float()  # expected values see the rounded weights
    model.to(dtype); weights = {k: v.contiguous() for k, v in model.state_dict().items() if keep(k)}
    save_file(weights, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
    model.float()
    c = config.to_dict()
    c["architectures"] = [type(model).__name__]
    # What an older version writes, so that the reader is tested on all keys that are usual.
    drop = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "chunk_size_feed_forward")
    c = {k: v for k, v in c.items() if v is not None and k not in drop}
    json.dump(c, open(os.path.join(d, "config.json"), "w"), indent=1, sort_keys=True)
    for path, value in (extra or {}).items():
        p = os.path.join(d, path); os.makedirs(os.path.dirname(p), exist_ok=True); json.dump(value, open(p, "w"))
    rows = []
    for ids, segments in INPUTS:
        x = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if "Distil" not in type(model).__name__: x["token_type_ids"] = torch.tensor([segments])
        with torch.no_grad(): y = model(**x, output_hidden_states=True)
        hidden = y.hidden_states[-1][0]
        row = {"ids": ids, "segments": segments, "hidden": hidden.flatten().tolist(), "mean": hidden.mean(0).tolist()}
        if getattr(y, "pooler_output", None) is not None: row["pooler"] = y.pooler_output[0].tolist()
        if getattr(y, "logits", None) is not None: row["logits"] = y.logits[0].tolist()
        rows.append(row)
    rows = json.loads(json.dumps(rows), parse_float=lambda s: float("%.7g" % float(s)))
    json.dump(rows, open(os.path.join(d, "expected.json"), "w"), separators=(",", ":"))
small = dict(vocab_size=20, max_position_embeddings=10)
bert = dict(small, hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=16)
names = {0: "no", 1: "yes", 2: "perhaps"}
c = BertConfig(**{**bert, "num_hidden_layers": 2}, hidden_act="gelu", num_labels=3, id2label=names, label2id={v: k for k, v in names.items()})
save("bert_classifier", BertForSequenceClassification(c), c)
c = BertConfig(**bert, hidden_act="gelu_new"); save("bert_pooler", BertModel(c), c, torch.float16)
c = BertConfig(**bert, hidden_act="relu")
pool = {"1_Pooling/config.json": {"word_embedding_dimension": 12, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False},
        "sentence_bert_config.json": {"max_seq_length": 8, "do_lower_case": False}}
save("bert_sentence", BertModel(c, add_pooling_layer=False), c, torch.bfloat16, pool)
distil = dict(small, dim=12, n_layers=1, n_heads=2, hidden_dim=20)
c = DistilBertConfig(**distil, activation="gelu", num_labels=2)
save("distilbert_classifier", DistilBertForSequenceClassification(c), c)
c = DistilBertConfig(**distil, activation="relu", sinusoidal_pos_embds=True); save("distilbert", DistilBertModel(c), c)
