"""BERT (arXiv 1810.04805), RoBERTa (arXiv 1907.11692) and nomic-bert (arXiv 2402.01613): embeddings by pooling, and the
score of two texts by a classifier of one label over the first row."""
import json

from lab import *

WIDTH, HEADS, HIDDEN, LAYERS, CONTEXT = 64, 4, 96, 3, 64
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ","] + [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(313)]


def encode(config, w, tokens, second=None):
    """The last hidden rows. `second`: where the tokens of type 1 begin."""
    p = config["prefix"]
    e = p + "embeddings."
    types = np.zeros(len(tokens), int) if second is None else (np.arange(len(tokens)) >= second).astype(int)
    table = w[e + "token_type_embeddings.weight"]
    x = w[e + "word_embeddings.weight"][tokens] + table[np.minimum(types, len(table) - 1)]
    first = config["pad_token_id"] + 1 if "Roberta" in config["architectures"][0] else 0
    x = x + w[e + "position_embeddings.weight"][first : first + len(tokens)]
    x = layers.layer_norm(x, w[e + "LayerNorm.weight"], w[e + "LayerNorm.bias"], 1e-12)
    for layer in range(LAYERS):
        b = Block(w, f"{p}encoder.layer.{layer}.")
        q, k, v = (b.linear(x, f"attention.self.{name}") for name in ("query", "key", "value"))
        y = b.linear(layers.attention(q, k, v, HEADS, HEADS, causal=False), "attention.output.dense")
        x = layers.layer_norm(x + y, b["attention.output.LayerNorm.weight"], b["attention.output.LayerNorm.bias"], 1e-12)
        y = b.linear(layers.gelu(b.linear(x, "intermediate.dense")), "output.dense")
        x = layers.layer_norm(x + y, b["output.LayerNorm.weight"], b["output.LayerNorm.bias"], 1e-12)
    return x


def linear(w, x, name):
    return w[name + ".weight"] @ x + w[name + ".bias"]


def mean(config, w, tokens, second=None):
    return encode(config, w, tokens).mean(axis=0)


def first(config, w, tokens, second=None):
    return encode(config, w, tokens)[0]


def bert_score(config, w, tokens, second):
    return linear(w, np.tanh(linear(w, encode(config, w, tokens, second)[0], "bert.pooler.dense")), "classifier")


def roberta_score(config, w, tokens, second):
    x = np.tanh(linear(w, encode(config, w, tokens, second)[0], "classifier.dense"))
    return linear(w, x, "classifier.out_proj")


def nomic(config, w, tokens, second=None):
    turn = layers.frequencies(WIDTH // HEADS, config["rotary_emb_base"])
    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
    x = layers.layer_norm(x, w["emb_ln.weight"], w["emb_ln.bias"], 1e-12)
    for layer in range(LAYERS):
        b = Block(w, f"encoder.layers.{layer}.")
        q, k, v = np.split(b.linear(x, "attn.Wqkv"), 3, axis=1)
        q, k = layers.rope_half(q, HEADS, turn), layers.rope_half(k, HEADS, turn)
        y = b.linear(layers.attention(q, k, v, HEADS, HEADS, causal=False), "attn.out_proj")
        x = layers.layer_norm(x + y, b["norm1.weight"], b["norm1.bias"], 1e-12)
        y = b.linear(layers.silu(b.linear(x, "mlp.fc12")) * b.linear(x, "mlp.fc11"), "mlp.fc2")
        x = layers.layer_norm(x + y, b["norm2.weight"], b["norm2.bias"], 1e-12)
    return x.mean(axis=0)


def norm(random, weights, name):
    weights[name + ".weight"], weights[name + ".bias"] = random.vector(WIDTH, 1.0), random.vector(WIDTH)


def bert_weights(random, prefix, places, types):
    e = prefix + "embeddings."
    weights = {e + "word_embeddings.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               e + "position_embeddings.weight": random.matrix(places, WIDTH, gain=4.0),
               e + "token_type_embeddings.weight": random.matrix(types, WIDTH, gain=4.0)}
    norm(random, weights, e + "LayerNorm")
    for layer in range(LAYERS):
        block = f"{prefix}encoder.layer.{layer}."
        for name, outputs, inputs in (("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
                                      ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
                                      ("intermediate.dense", HIDDEN, WIDTH), ("output.dense", WIDTH, HIDDEN)):
            weights[f"{block}{name}.weight"] = random.matrix(outputs, inputs, gain=1.5)
            weights[f"{block}{name}.bias"] = random.vector(outputs)
        norm(random, weights, block + "attention.output.LayerNorm")
        norm(random, weights, block + "output.LayerNorm")
    return weights


BERT_NAMES = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
              "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
              "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
              "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
              "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
              "pooler.dense": "cls", "classifier": "cls.output", "emb_ln": "token_embd_norm", "attn.Wqkv": "attn_qkv",
              "attn.out_proj": "attn_output", "norm1": "attn_output_norm", "norm2": "layer_output_norm",
              "mlp.fc11": "ffn_up", "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down"}


def keys(architecture, **changes):
    own = {"block_count": LAYERS, "context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": HIDDEN,
           "attention.head_count": HEADS, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False} | changes
    words = [word if word.startswith("[") else "\u2581" + word for word in WORDS]
    return {"general.architecture": architecture, "tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": words,
            "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(words) - 5), "tokenizer.ggml.unknown_token_id": 1,
            "tokenizer.ggml.cls_token_id": 2, "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 3,
            "tokenizer.ggml.seperator_token_id": 3, "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.ggml.mask_token_id": 4, "tokenizer.ggml.token_type_count": 2,
            } | {f"{architecture}.{key}": value for key, value in own.items()}


def tokenizer_json(between):
    special = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    a, b, cls, sep = ({"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                      {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": WORDS[i], "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i in range(5)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [cls, a, sep], "pair": [cls, a] + [sep] * between + [b, sep],
                           "special_tokens": special},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(WORDS)}}})


def bert(name, seed, architecture, forward, prefix="", places=CONTEXT, types=2, head=(), pooling=None, between=1, gguf=True):
    random = Random(seed)
    config = {"architectures": [architecture], "num_hidden_layers": LAYERS, "hidden_size": WIDTH,
              "num_attention_heads": HEADS, "intermediate_size": HIDDEN, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
              "max_position_embeddings": places, "vocab_size": VOCABULARY, "type_vocab_size": types, "pad_token_id": 1,
              "prefix": prefix}
    weights = bert_weights(random, prefix, places, types)
    for part, outputs in head:
        weights[part + ".weight"], weights[part + ".bias"] = random.matrix(outputs, WIDTH, gain=2.0), random.vector(outputs)
    texts = {"tokenizer.json": tokenizer_json(between)}
    if pooling == "cls":
        texts["1_Pooling/config.json"] = json.dumps({"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True,
                                                     "pooling_mode_mean_tokens": False})
    kind = {"cls": 2, "rank": 4}.get(pooling, 1)
    in_gguf = to_gguf({n.removeprefix("bert."): t for n, t in weights.items()}, BERT_NAMES) if gguf else None
    return Model(name, config, weights, forward, keys("bert", pooling_type=kind) if gguf else None, in_gguf, context=CONTEXT,
                 encoder="rank" if head else "embed", between=between, texts=texts)


def nomic_model():
    random = Random(124)
    config = {"architectures": ["NomicBertModel"], "n_layer": LAYERS, "n_embd": WIDTH, "n_head": HEADS, "n_inner": HIDDEN,
              "n_positions": CONTEXT, "vocab_size": VOCABULARY, "type_vocab_size": 2, "layer_norm_epsilon": 1e-12,
              "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "activation_function": "swiglu", "prenorm": False,
              "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "rotary_emb_interleaved": False}
    weights = {"embeddings.word_embeddings.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               "embeddings.token_type_embeddings.weight": random.matrix(2, WIDTH, gain=4.0)}
    norm(random, weights, "emb_ln")
    for layer in range(LAYERS):
        block = f"encoder.layers.{layer}."
        for name, outputs, inputs in (("attn.Wqkv", 3 * WIDTH, WIDTH), ("attn.out_proj", WIDTH, WIDTH),
                                      ("mlp.fc11", HIDDEN, WIDTH), ("mlp.fc12", HIDDEN, WIDTH), ("mlp.fc2", WIDTH, HIDDEN)):
            weights[f"{block}{name}.weight"] = random.matrix(outputs, inputs, gain=1.5)
        norm(random, weights, block + "norm1")
        norm(random, weights, block + "norm2")
    own = keys("nomic-bert", **{"pooling_type": 1, "rope.freq_base": 1000.0})
    refused = [("hf", {"prenorm": True}, "bert: config.json: 'prenorm' is true, which is not supported")]
    return Model("nomic-bert", config, weights, nomic, own, to_gguf(weights, BERT_NAMES), context=CONTEXT, encoder="embed",
                 texts={"tokenizer.json": tokenizer_json(1)}, refused=refused)


def models():
    pooler = (("bert.pooler.dense", WIDTH), ("classifier", 1))
    head = (("classifier.dense", WIDTH), ("classifier.out_proj", 1))
    return [bert("bert", 121, "BertModel", mean), bert("bert-cls", 125, "BertModel", first, pooling="cls"),
            bert("bert-rank", 122, "BertForSequenceClassification", bert_score, "bert.", head=pooler, pooling="rank"),
            bert("roberta-rank", 123, "XLMRobertaForSequenceClassification", roberta_score, "roberta.", CONTEXT + 2, 1, head,
                 between=2, gguf=False), nomic_model()]
