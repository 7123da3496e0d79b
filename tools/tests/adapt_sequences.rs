//! `tailtune adapt` of an image with a decoder, on the command line.

#[allow(dead_code)] // Its recordings are for other tests.
mod common;

use common::{json, run};
use std::path::Path;
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::tune::Tail;
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::synthetic;
use tailtune_tools::text::tokenizer;
use tailtune_tools::text::word_level::{END, START, characters, pieces, write_target};

const LEARNED: &str = "abe\tB A\nbeda\tD E A\ncab\tA B B\neba\tE\nada\tA D\n";
const TEST: &str = "abba\tA B\nabe\tE E\nbede\tD\n";

/// Writes an image of a random model, its tokenizers, and pairs.
fn write(dir: &Path) {
    let source = characters(["abcde"].into_iter()).unwrap();
    let target = pieces(["A B D E"].into_iter()).unwrap();
    let config = ModelConfig {
        n_layers: 1,
        d_model: 24,
        n_heads: 2,
        d_ff: 32,
        seq_len: 8,
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: source.get_vocab_size(true) as u32,
            n_segments: 0,
        },
        class_token: false,
        norm: NormOrder::Pre,
        activation: Activation::Relu,
        pooling: Pooling::First,
        embed_norm: false,
        final_norm: true,
        decoder: Some(DecoderConfig {
            n_layers: 1,
            seq_len: 6,
            vocab_size: target.get_vocab_size(true) as u32,
            start: START,
            end: END,
            tied: true,
            embed_norm: false,
            final_norm: true,
        }),
    };
    let float = synthetic::model(&config, 3);
    let quantized = synthetic::quantized(&float, 30, 4).unwrap();
    let image: AlignedBytes = quantized.writer.finish().unwrap();
    std::fs::write(dir.join("model.bin"), &*image).unwrap();
    tokenizer::write(&source, dir).unwrap();
    write_target(&target, dir).unwrap();
    std::fs::write(dir.join("pairs.tsv"), LEARNED).unwrap();
    std::fs::write(dir.join("test.tsv"), TEST).unwrap();
}

#[test]
fn pairs_are_learned_and_errors_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir);
    let call = |more: &[&'static str]| {
        let mut args = vec![
            "adapt",
            "model.bin",
            "--data",
            "pairs.tsv",
            "--tokenizer",
            ".",
        ];
        args.extend([
            "--learning-rate",
            "0.02",
            "--epochs",
            "120",
            "--weight-decay",
            "0",
        ]);
        args.extend(more);
        args
    };
    for method in ["softmax", "lora"] {
        let tail = "tail.bin";
        let more = ["--method", method, "--test", "test.tsv", "--tail", tail];
        let told = json(dir, &call(&more));
        let [before, after] = [0, 1].map(|i| {
            let rate = &told["learned"]["sequence_error_rate"][i];
            rate.as_f64().unwrap()
        });
        assert!(before >= 0.8 && after <= 0.4, "{method}: {told}");
        assert_eq!(told["learned"]["n"], 5);
        // One of the three is learned from.
        assert_eq!(told["test"]["n"], 2);
        assert_eq!(told["positions"], 16, "{told}");
        assert_eq!(told["fit"]["hold_back"], 10);
        let bytes = AlignedBytes::new(&std::fs::read(dir.join(tail)).unwrap());
        let tail = Tail::parse(&bytes).unwrap();
        assert_eq!(told["tail_bytes"], bytes.len());
        assert_eq!(tail.block().is_empty(), method == "softmax");
    }
    let (text, _) = run(dir, &call(&["--test", "test.tsv"]), 0);
    assert!(
        text.contains("learned") && text.contains("held out"),
        "{text}"
    );
}

#[test]
fn a_piece_can_be_added_and_what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir);
    std::fs::write(dir.join("new.tsv"), "abe\tB X\nbeda\tX\n").unwrap();
    let call = |more: &[&'static str]| {
        let args = [
            "adapt",
            "model.bin",
            "--tokenizer",
            ".",
            "--data",
            "new.tsv",
        ];
        [&args[..], more].concat()
    };
    let (_, error) = run(dir, &call(&[]), 1);
    assert!(
        error.contains("new.tsv") && error.contains("--add-token X="),
        "{error}"
    );
    for (pair, part) in [
        ("X", "PIECE=KNOWN"),
        ("X=Y", "\"Y\""),
        ("A=B", "there already"),
    ] {
        let (_, error) = run(dir, &call(&["--add-token", pair]), 2);
        assert!(error.contains(part), "{error}");
    }
    let tail = ["--add-token", "X=A", "--tail", "tail.bin"];
    run(dir, &call(&tail), 0);
    let bytes = AlignedBytes::new(&std::fs::read(dir.join("tail.bin")).unwrap());
    let tail = Tail::parse(&bytes).unwrap();
    assert_eq!(tail.added_names().collect::<Vec<_>>(), ["X=4"]);

    let (_, error) = run(
        dir,
        &["adapt", "model.bin", "--train", "x", "--test", "x"],
        2,
    );
    assert!(error.contains("--data PAIRS.tsv"), "{error}");
    let (_, error) = run(dir, &call(&["--keep-old", "0.1"]), 2);
    assert!(error.contains("--rehearse"), "{error}");
}
