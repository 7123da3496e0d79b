//! Any bytes as a tokenizer's section: a typed error, or tokens that end and text that can be made of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailtune::text::Tokenizer;

const TEXT: &str = "Café a\u{323}\u{1d165}\u{302e} can't 各 12 [MASK]! 한글 <s>";

fuzz_target!(|data: &[u8]| {
    let Ok(tokenizer) = Tokenizer::parse(data) else {
        return;
    };
    let mut work = vec![0; tokenizer.workspace_len().max(64)];
    let (mut ids, mut segments) = ([0; 24], [0; 24]);
    let texts = (TEXT, Some(TEXT));
    if let Ok(found) = tokenizer.encode(texts, true, &mut work, &mut ids, &mut segments) {
        assert!(found.len <= found.padded && found.padded <= ids.len());
        let _ = tokenizer.encode((TEXT, None), false, &mut work, &mut ids, &mut []);
    }
    let tokens = tokenizer
        .tokens(TEXT, &mut work)
        .expect("it is as large as asked for");
    assert!(tokens.take(1000).count() < 1000);
    ids[0] = 70_000;
    let mut len = 0;
    tokenizer.decode(&ids, false, |part| len += part.len());
    assert!(len <= ids.len() * 256);
});
