//! A model of text goes the way that a model of sound goes: convert, eval, adapt on a table of texts.

#[allow(dead_code)] // Its small model is for other tests.
mod common;

use std::path::Path;
use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::export::write_model;
use tailtune_tools::synthetic;
use tailtune_tools::text::{Corpus, tokenizer};

const THINGS: [(&str, &str); 3] = [
    ("the red lamp", "class 0"),
    ("a green door", "class 1"),
    ("my old robot", "robot"),
];

fn table(classes: &[(&str, &str)]) -> String {
    let line = |(thing, class): &(&str, &str)| {
        let one = |n: &str| format!("{thing} counts to {n},and again,{class}\n");
        ["one", "two", "three", "four", "five", "six"]
            .map(one)
            .concat()
    };
    let lines: String = classes.iter().map(line).collect();
    format!("text,text_pair,label\n{lines}")
}

/// Writes a model with random weights, its tokenizer and two tables.
fn prepared(dir: &Path) {
    let sentences = table(&THINGS).replace(',', "\n");
    std::fs::write(dir.join("corpus.txt"), sentences).unwrap();
    let corpus = Corpus::read(&[dir.join("corpus.txt")]).unwrap();
    let pieces = tokenizer::train(&corpus, 100).unwrap();
    let config = ModelConfig {
        d_model: 32,
        n_layers: 2,
        n_heads: 2,
        d_ff: 64,
        seq_len: 20,
        n_classes: 2,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling: Pooling::First,
        class_token: false,
        embed_norm: true,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
        input: InputKind::Tokens {
            vocab_size: pieces.get_vocab_size(true) as u32,
            n_segments: 2,
        },
    };
    std::fs::create_dir(dir.join("model")).unwrap();
    write_model(&dir.join("model"), &synthetic::model(&config, 3), &[]).unwrap();
    tokenizer::write(&pieces, &dir.join("model")).unwrap();
    std::fs::write(dir.join("known.csv"), table(&THINGS[..2])).unwrap();
    std::fs::write(dir.join("all.csv"), table(&THINGS)).unwrap();
}

fn run(dir: &Path, args: &str) -> (Option<i32>, String, String) {
    let args: Vec<&str> = args.split_whitespace().collect();
    let output = common::tailtune(dir, &args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn texts_are_evaluated_and_learned() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let json = |args: &str| -> serde_json::Value {
        let (code, out, said) = run(dir.path(), args);
        assert_eq!(code, Some(0), "{args}: {said}");
        serde_json::from_str(&out).unwrap()
    };
    json("convert model --board qemu-mps2-an386 --calibrate all.csv -o m.bin --json");
    let report = json("eval m.bin --reference model --data known.csv --json");
    assert_eq!(report["n"], 12);
    assert_eq!(report["columns"].as_array().unwrap().len(), 3);
    assert!(
        report["agreement"].as_f64().unwrap() >= 10.0 / 12.0,
        "{report}"
    );
    let learned =
        json("adapt m.bin --tokenizer model --train all.csv --test all.csv --shots 4 --json");
    assert_eq!(
        (&learned["n_train"], &learned["n_test"]),
        (&12.into(), &6.into())
    );
    assert!(
        learned["accuracy_after"].as_f64().unwrap() >= 5.0 / 6.0,
        "{learned}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let made = "convert model --board qemu-mps2-an386 --calibrate all.csv -o m.bin";
    assert_eq!(run(dir.path(), made).0, Some(0));
    let (code, _, said) = run(
        dir.path(),
        "adapt m.bin --train all.csv --test all.csv --shots 2",
    );
    assert!(code == Some(1) && said.contains("--tokenizer"), "{said}");
    std::fs::write(dir.path().join("empty.csv"), "text,label\n,door\n").unwrap();
    let (code, _, said) = run(dir.path(), "eval m.bin --tokenizer model --data empty.csv");
    assert!(
        code == Some(1) && said.contains("line 2: the text is empty"),
        "{said}"
    );
    std::fs::remove_file(dir.path().join("model/tokenizer.json")).unwrap();
    let (code, _, said) = run(dir.path(), "eval m.bin --reference model --data known.csv");
    assert!(code == Some(1) && said.contains("tokenizer.json"), "{said}");
    // The weights of a model that was not pretrained on text hold no heads for it.
    let (code, _, said) = run(dir.path(), "eval model --data corpus.txt");
    assert!(code == Some(1) && said.contains("mlm."), "{said}");
}
