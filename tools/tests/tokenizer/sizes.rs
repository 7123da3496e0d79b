//! What sections take, and how fast they are: run with `--nocapture` for the numbers, and with
//! `TAILTUNE_TOKENIZER=tokenizer.json` for those of that one.

use crate::{FULL, byte_level, snips, word_piece};
use std::time::Instant;
use tailtune::text::Tokenizer as Device;
use tailtune_tools::text::section::{Coverage, Options, section};
use tokenizers::Tokenizer;
use tokenizers::normalizers::BertNormalizer;

/// Prints sizes and speeds; returns the bytes of the section with the default options.
fn report(name: &str, host: &Tokenizer, lines: &[String]) -> usize {
    for options in [Options::default(), FULL] {
        let section = section(host, options).unwrap();
        println!(
            "{name}, {:?}: {} bytes {:?}",
            options.coverage,
            section.bytes.len(),
            section.sizes
        );
    }
    for block_shift in [2, 3, 4, 5, 6] {
        let options = Options {
            block_shift,
            coverage: Coverage::Vocabulary,
            inverse: false,
        };
        let bytes = section(host, options).unwrap().bytes;
        let device = Device::parse(&bytes).unwrap();
        let mut work = vec![0; 2048];
        let start = Instant::now();
        let mut n = 0;
        for line in lines {
            n += device.tokens(line, &mut work).unwrap().count();
        }
        let time = start.elapsed().as_secs_f64();
        println!(
            "{name}, blocks of {}: {} bytes, {n} tokens, {:.0} a second",
            1 << block_shift,
            bytes.len(),
            n as f64 / time
        );
    }
    let start = Instant::now();
    let n: usize = lines
        .iter()
        .map(|l| host.encode_fast(l.as_str(), false).unwrap().len())
        .sum();
    println!(
        "{name}, the crate: {:.0} tokens a second",
        n as f64 / start.elapsed().as_secs_f64()
    );
    section(host, Options::default()).unwrap().bytes.len()
}

#[test]
fn sizes_and_speed() {
    let Some(lines) = snips::lines() else { return };
    let words = word_piece(&lines, 4096, BertNormalizer::default());
    assert!(report("WordPiece 4096", &words, &lines) < 40_000);
    report("byte-level 4096", &byte_level(&lines, 4096, true), &lines);
    if let Ok(path) = std::env::var("TAILTUNE_TOKENIZER") {
        report(&path, &Tokenizer::from_file(&path).unwrap(), &lines);
    }
}
