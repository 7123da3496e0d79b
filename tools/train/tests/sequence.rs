//! Sequence to sequence: a small model learns to spell backwards, goes on after a stop, and moves in
//! fine-tuning only where it is told to.

#[allow(dead_code)] // The sounds are for other tests.
mod common;

use common::{trained, trainer};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tailtune_tools::evaluation::sequence::{Tokenizers, evaluate, questions};
use tailtune_tools::export::{Tensor, tensors};
use tailtune_tools::import::read_model;
use tailtune_tools::synthetic::Random;
use tailtune_tools::text::Parallel;

const ENCODER: &str = r#"
[model]
d_model = 32
n_layers = 1
n_heads = 2
d_ff = 48
activation = "relu"
pooling = "first"
seq_len = 8
"#;

/// Words of five letters with their capitals from the last to the first.
fn words(n: usize, seed: u64) -> String {
    let r = &mut Random::new(seed);
    let mut text = String::new();
    for _ in 0..n {
        let len = 1 + r.below(5);
        let word: Vec<char> = (0..len)
            .map(|_| char::from(b'a' + r.below(5) as u8))
            .collect();
        let capitals: Vec<String> = word.iter().rev().map(char::to_string).collect();
        let word: String = word.iter().collect();
        writeln!(text, "{word}\t{}", capitals.join(" ").to_uppercase()).unwrap();
    }
    text
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.path("train.tsv"), words(1500, 1)).unwrap();
        std::fs::write(place.path("valid.tsv"), words(60, 2)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn config(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.at(name)
    }

    fn sequence(&self, steps: u32) -> String {
        let text = format!(
            "name = \"backwards\"\ntask = \"sequence_to_sequence\"\nseed = 3\n{ENCODER}\n[model.decoder]\nn_layers = 1\nseq_len = 7\n\n[schedule]\nsteps = {steps}\nbatch = 32\nlearning_rate = 5e-3\nwarmup_steps = 30\nreport_every = 100\n"
        );
        self.config(&format!("sequence-{steps}.toml"), &text)
    }
}

fn errors(model: &Path, data: &Path) -> f64 {
    let float = read_model(model).unwrap();
    let pairs = Parallel::read(&[data.to_owned()]).unwrap();
    let tokenizers = Tokenizers::read(model).unwrap();
    let questions = questions(&pairs, &tokenizers, &float.config).unwrap();
    evaluate(&float, &questions, &|| ()).token_error_rate()
}

#[test]
fn words_are_spelled_backwards() {
    let place = Place::new();
    let config = place.sequence(500);
    let data = [place.at("train.tsv"), place.at("valid.tsv")];
    let said = trained(&[
        "pretrain",
        "--config",
        &config,
        "--data",
        &data[0],
        "--valid",
        &data[1],
        "-o",
        &place.at("model"),
    ]);
    assert!(said.contains("held_out_token_errors"), "{said}");
    let rate = errors(&place.path("model"), &place.path("valid.tsv"));
    // Guessing letters is wrong four times of five.
    assert!(rate < 0.1, "{rate} {said}");
    what_moves(&place);
    unknown_pieces_are_named(&place);
}

/// Returns the names of the tensors that are not equal to the bit.
fn changed(a: &Path, b: &Path) -> BTreeSet<String> {
    let (a, b) = (
        tensors(&read_model(a).unwrap()),
        tensors(&read_model(b).unwrap()),
    );
    assert_eq!(a.len(), b.len());
    let bits = |t: &Tensor| t.values.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let pairs = a.iter().zip(&b).filter(|(a, b)| bits(a) != bits(b));
    pairs.map(|(a, _)| a.name.clone()).collect()
}

fn what_moves(place: &Place) {
    // Two words are said in another way from now on.
    std::fs::write(place.path("own.tsv"), "abc\tA A A\nde\tB\n").unwrap();
    let output = |what: &str| place.path(&format!("tuned-{what}"));
    for what in ["encoder", "decoder", "both", "head", "lora"] {
        trained(&[
            "finetune",
            &place.at("model"),
            "--data",
            &place.at("own.tsv"),
            "--valid",
            &place.at("own.tsv"),
            "--train",
            what,
            "-o",
            &output(what).display().to_string(),
        ]);
    }
    let changed = |what: &str| changed(&place.path("model"), &output(what));
    let in_decoder = |name: &String| name.starts_with("decoder.") || name.starts_with("output.");
    let encoder = changed("encoder");
    assert!(encoder.contains("layers.0.ff1.weight") && encoder.contains("final_norm.weight"));
    assert!(!encoder.iter().any(in_decoder), "{encoder:?}");
    let decoder = changed("decoder");
    assert!(
        decoder.contains("decoder.layers.0.cross.q.weight"),
        "{decoder:?}"
    );
    assert!(decoder.iter().all(in_decoder), "{decoder:?}");
    let both = changed("both");
    assert!(both.is_superset(&encoder) && both.is_superset(&decoder));
    let head = changed("head");
    let own = ["decoder.embeddings.tokens.weight", "output.bias"];
    assert_eq!(head, own.map(String::from).into());
    let lora = changed("lora");
    let attention = |name: &String| {
        let projection = name.contains("attention.") || name.contains("cross.");
        own.contains(&name.as_str()) || projection && name.ends_with(".weight")
    };
    assert!(lora.contains("layers.0.attention.q.weight"));
    assert!(lora.contains("decoder.layers.0.cross.o.weight"));
    assert!(lora.iter().all(attention), "{lora:?}");
    for what in ["decoder", "both"] {
        assert_eq!(errors(&output(what), &place.path("own.tsv")), 0.0, "{what}");
    }
}

fn unknown_pieces_are_named(place: &Place) {
    std::fs::write(place.path("odd.tsv"), "abc\tA X\n").unwrap();
    let output = trainer(&[
        "finetune",
        &place.at("model"),
        "--data",
        &place.at("odd.tsv"),
        "-o",
        &place.at("odd"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("abc") && said.contains("target_tokenizer.json"),
        "{said}"
    );
}

/// Letters are learned first; the encoder's weights and its tokenizer are where sequences start, and a run
/// that was stopped ends as one that was not.
#[test]
fn a_pretrained_encoder_starts_a_run_that_goes_on_after_a_stop() {
    let place = Place::new();
    let letters: String = words(300, 7)
        .lines()
        .map(|l| format!("{}\n", l.split('\t').next().unwrap()))
        .collect();
    std::fs::write(place.path("words.txt"), letters).unwrap();
    let text = format!(
        "name = \"letters\"\ntask = \"masked_lm\"\n{ENCODER}\n[text]\ntokenizer = \"characters\"\nnext_sentence = false\n\n[schedule]\nsteps = 20\nbatch = 16\nlearning_rate = 3e-3\nreport_every = 10\n"
    );
    let config = place.config("letters.toml", &text);
    let said = trained(&[
        "pretrain",
        "--config",
        &config,
        "--data",
        &place.at("words.txt"),
        "-o",
        &place.at("letters"),
    ]);
    assert!(
        said.contains("held_out_mlm_loss") && !said.contains("nsp"),
        "{said}"
    );
    let config = place.sequence(200);
    let run = |output: &str, more: &[&str]| {
        let (data, encoder, output) =
            (place.at("train.tsv"), place.at("letters"), place.at(output));
        let args = [
            "pretrain",
            "--config",
            &config,
            "--data",
            &data,
            "--encoder",
            &encoder,
            "-o",
            &output,
        ];
        trained(&[&args, more].concat())
    };
    let said = run("whole", &[]);
    assert!(said.contains("tensors of its"), "{said}");
    let letters = place.path("letters/tokenizer.json");
    assert_eq!(
        std::fs::read(letters).unwrap(),
        std::fs::read(place.path("whole/tokenizer.json")).unwrap()
    );
    run("parts", &["--stop-after", "130"]);
    assert!(run("parts", &[]).contains("going on after step 100"));
    assert_eq!(
        std::fs::read(place.path("whole/model.safetensors")).unwrap(),
        std::fs::read(place.path("parts/model.safetensors")).unwrap()
    );
}
