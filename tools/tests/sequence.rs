//! Pairs of source and target from outside: what `prepare` writes and what `eval` counts.

#[allow(dead_code)] // Its small model is for other tests.
mod common;

use common::{json, run};
use std::path::Path;
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::evaluation::sequence::{Tokenizers, questions};
use tailtune_tools::export::write_model;
use tailtune_tools::reference::{FloatInput, generate};
use tailtune_tools::synthetic;
use tailtune_tools::text::{Parallel, word_level};

const DICTIONARY: &str = "\
read R EH1 D\n\
read(2) R IY1 D # verb\n\
x-ray EH1 K S R EY2\n\
bad B AE1 D\n";

/// Writes a model with random weights and its tokenizers.
fn model(dir: &Path) {
    let tokenizers = Tokenizers {
        source: word_level::characters(["read", "bad"].into_iter()).unwrap(),
        target: word_level::pieces(["R EH D", "R IY D", "B AE D"].into_iter()).unwrap(),
    };
    let [source, target] =
        [&tokenizers.source, &tokenizers.target].map(|t| t.get_vocab_size(true) as u32);
    let config = ModelConfig {
        n_layers: 1,
        d_model: 16,
        n_heads: 2,
        d_ff: 16,
        seq_len: 6,
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: source,
            n_segments: 0,
        },
        class_token: false,
        norm: NormOrder::Pre,
        activation: Activation::Relu,
        pooling: Pooling::First,
        embed_norm: false,
        final_norm: true,
        embedding_rank: 0,
        pooler: false,
        decoder: Some(DecoderConfig {
            n_layers: 1,
            seq_len: 6,
            vocab_size: target,
            start: word_level::START,
            end: word_level::END,
            tied: true,
            embed_norm: false,
            final_norm: true,
        }),
    };
    write_model(dir, &synthetic::model(&config, 3), &[]).unwrap();
    tokenizers.write(dir).unwrap();
}

#[test]
fn a_dictionary_becomes_pairs() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    std::fs::write(dir.join("cmudict.dict"), DICTIONARY).unwrap();
    run(
        dir,
        &["prepare", "cmudict", "cmudict.dict", "-o", "data"],
        0,
    );
    let read = |name: &str| std::fs::read_to_string(dir.join("data").join(name)).unwrap();
    let parts = ["train.tsv", "valid.tsv", "test.tsv"].map(read);
    let mut lines: Vec<&str> = parts.iter().flat_map(|p| p.lines()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["bad\tB AE D", "read\tR EH D", "read\tR IY D"]);
    // Both pronunciations are in one part.
    assert!(parts.iter().any(|p| p.matches("read").count() == 2));
    let trained = parts[0].lines().map(|l| l.split('\t').next().unwrap());
    let trained: std::collections::BTreeSet<&str> = trained.collect();
    assert_eq!(read("words.txt").lines().count(), trained.len());

    std::fs::write(dir.join("words.dict"), "read\n").unwrap();
    let (_, error) = run(dir, &["prepare", "cmudict", "words.dict", "-o", "data"], 1);
    assert!(
        error.contains("words.dict") && error.contains("line 1"),
        "{error}"
    );
}

/// What the model itself writes is right, anything else counts by its distance.
#[test]
fn eval_counts_what_is_wrong() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    model(&dir.join("model"));
    let float = tailtune_tools::import::read_model(&dir.join("model")).unwrap();
    let tokenizers = Tokenizers::read(&dir.join("model")).unwrap();
    let sources = "read\tR\nbad\tR\nbadbadbad\tR\n";
    std::fs::write(dir.join("sources.tsv"), sources).unwrap();
    let pairs = Parallel::read(&[dir.join("sources.tsv")]).unwrap();
    let written: Vec<String> = questions(&pairs, &tokenizers, &float.config)
        .unwrap()
        .iter()
        .map(|q| {
            let segments = &[];
            let input = FloatInput::Tokens {
                ids: &q.input,
                segments,
            };
            word_level::text(&tokenizers.target, &generate(&float, Some(input)))
        })
        .collect();
    assert!(written.iter().all(|w| !w.is_empty()), "{written:?}");
    // The first as the model writes it, the second with one piece more, the third another's.
    let own: usize = written[0].split(' ').count();
    let data = format!(
        "read\tB B B B B B B\nread\t{}\nbad\t{} IY\nbadbadbad\tIY IY IY IY IY IY IY IY IY\n",
        written[0], written[1]
    );
    std::fs::write(dir.join("data.tsv"), data).unwrap();
    let said = json(dir, &["eval", "model", "--data", "data.tsv"]);
    let number = |key: &str| said[key].as_f64().unwrap();
    assert_eq!(
        (number("n"), number("wrong"), number("truncated")),
        (3.0, 2.0, 1.0)
    );
    let tokens = own + written[1].split(' ').count() + 1 + 9;
    assert_eq!(number("tokens") as usize, tokens);
    let same = written[2].split(' ').filter(|p| *p == "IY").count();
    assert_eq!(number("edits") as usize, 1 + 9 - same);
    let rate = number("edits") / number("tokens");
    assert!((number("token_error_rate") - rate).abs() < 1e-12);
    let (text, _) = run(dir, &["eval", "model", "--data", "data.tsv"], 0);
    assert!(
        text.contains("66.67 %") && text.contains("1 sources are longer"),
        "{text}"
    );
}

#[test]
fn faulty_pairs_and_models_are_named() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    model(&dir.join("model"));
    std::fs::write(dir.join("data.tsv"), "read R EH D\n").unwrap();
    let error = || run(dir, &["eval", "model", "--data", "data.tsv"], 1).1;
    let said = error();
    assert!(
        said.contains("data.tsv") && said.contains("line 1"),
        "{said}"
    );
    std::fs::write(dir.join("data.tsv"), "read\tR EH D\n").unwrap();
    let config = dir.join("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    for (from, to, part) in [
        ("tailtune_encoder_decoder", "tailtune_decoder", "n_layers"),
        ("tailtune_encoder_decoder", "tailtune_encoder", "decoder"),
        (
            "\"vocab_size\": 10",
            "\"vocab_size\": 11",
            "embeddings.tokens.weight",
        ),
        ("\"tied\": true", "\"tied\": false", "output.weight"),
        ("\"end\": 3", "\"end\": 99", "end"),
    ] {
        let broken = text.replace(from, to);
        assert_ne!(broken, text, "{from}");
        std::fs::write(&config, broken).unwrap();
        let said = error();
        assert!(said.contains(part), "{to}: {said}");
    }
}
