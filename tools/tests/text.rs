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

/// Float and int8 features point the same way; a pruned vocabulary gives its corpus the same features, and
/// image and reference agree on what was taken of the model.
#[test]
fn a_pruned_and_factorised_model_goes_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let json = |args: &str| -> serde_json::Value {
        let (code, out, said) = run(dir.path(), args);
        assert_eq!(code, Some(0), "{args}: {said}");
        serde_json::from_str(&out).unwrap()
    };
    std::fs::write(dir.path().join("few.txt"), "the red lamp\ncounts to one\n").unwrap();
    let whole = json("eval model --calibrate all.csv --data few.txt --embeddings --json");
    assert_eq!(whole["n"], 2);
    assert!(whole["least_cosine"].as_f64().unwrap() > 0.99, "{whole}");

    let take = "--prune-vocab few.txt --factorise-embedding 24 --seq-len 12 --layers 1";
    let board = "--board qemu-mps2-an386";
    let made = |take: &str, name: &str| {
        let all = format!("convert model {take} {board} --calibrate few.txt -o {name} --json");
        json(&all)["image_bytes"].as_u64().unwrap()
    };
    let (plain, small) = (made("", "plain.bin"), made(take, "small.bin"));
    assert!(small < plain * 3 / 4, "{small} {plain}");
    let plan = json(&format!("plan model {take} {board} --json"));
    assert_eq!(plan["image_bytes"], small);
    let one = format!("eval small.bin --reference model {take} --data few.txt --embeddings --json");
    assert!(json(&one)["mean_cosine"].as_f64().unwrap() > 0.99);
    // The tokenizer that was written beside the image is the one that it was made with.
    let other = one.replace("--data", "--tokenizer small.tokenizer.json --data");
    assert_eq!(json(&one), json(&other));
    let (code, _, said) = run(
        dir.path(),
        "eval small.bin --reference model --data few.txt --embeddings",
    );
    assert!(code == Some(1) && said.contains("--prune-vocab"), "{said}");
    let (code, _, said) = run(dir.path(), "eval model --data few.txt --embeddings");
    assert!(code == Some(2) && said.contains("--calibrate"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    let config = ModelConfig {
        d_model: 64,
        n_layers: 2,
        n_heads: 2,
        d_ff: 64,
        seq_len: 100,
        n_classes: 0,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling: Pooling::Mean,
        class_token: false,
        embed_norm: true,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
        input: InputKind::Tokens {
            vocab_size: 1500,
            n_segments: 0,
        },
    };
    write_model(
        &dir.path().join("model"),
        &synthetic::model(&config, 3),
        &[],
    )
    .unwrap();
    std::fs::write(dir.path().join("few.txt"), "the red lamp\n").unwrap();
    let made = "convert model --board microbit-v1 --calibrate few.txt -o m.bin";
    let (code, _, said) = run(dir.path(), made);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "95232",
        "--prune-vocab",
        "--factorise-embedding 8",
        "--seq-len",
        "arena",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    // What was named does fit: the same plan, with one of the remedies, says so.
    let plan = |take: &str| {
        let args = format!("plan model {take} --board microbit-v1 --json");
        let (code, out, said) = run(dir.path(), &args);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let length = said
        .split("--seq-len ")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap();
    let bytes = plan(&format!("--factorise-embedding 8 --seq-len {length}"));
    assert!(bytes["image_bytes"].as_u64().unwrap() <= 95232);
    let more = length.parse::<u32>().unwrap() + 1;
    let arena = |take: String| plan(&take)["arena_bytes"].as_u64().unwrap();
    let room = 0x4000 - 0x14f0;
    assert!(arena(format!("--seq-len {length}")) <= room);
    assert!(arena(format!("--seq-len {more}")) + 5 * u64::from(more) > room);
}
