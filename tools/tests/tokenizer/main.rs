//! The device's tokenizers against the `tokenizers` crate: the same ids, the same text back.

mod combinations;
mod hostile;
mod pairs;
mod sizes;
mod snips;
mod unicode;

use tailtune::text::{Encoded, Tokenizer as Device};
use tailtune_tools::synthetic::Random;
use tailtune_tools::text::section::{Coverage, Options, section};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, DecoderWrapper, Tokenizer};

/// Sentences that are there without the data of others.
const SENTENCES: [&str; 8] = [
    "Turn the lamp in the Café on, please!",
    "What's the weather like in São Paulo tomorrow?",
    "play some music by Björk -- or don't; I can't decide...",
    "naïve façade coöperate Ångström 12.5°C",
    "Wie spät ist es in Zürich? Straße, Größe",
    "the quick brown fox jumps over the lazy dog",
    "ΑΒΓ αβγ привет ПРИВЕТ 你好 世界",
    "a\tb\nc  d\r\n e [MASK] f[SEP]g",
];

fn special(names: &[&str]) -> Vec<AddedToken> {
    names.iter().map(|t| AddedToken::from(*t, true)).collect()
}

/// Trains a WordPiece tokenizer as BERT's.
fn word_piece(lines: &[String], vocab_size: usize, normalizer: BertNormalizer) -> Tokenizer {
    let model = WordPiece::builder().unk_token("[UNK]".into()).build();
    let mut tokenizer = Tokenizer::new(model.unwrap());
    tokenizer.with_normalizer(Some(normalizer)).unwrap();
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let trainer = WordPieceTrainer::builder()
        .vocab_size(vocab_size)
        .special_tokens(special(&names))
        .show_progress(false)
        .build();
    let mut trainer: TrainerWrapper = trainer.into();
    tokenizer
        .train(&mut trainer, lines.iter().map(String::as_str))
        .unwrap();
    let (sep, cls) = (("[SEP]".into(), 3), ("[CLS]".into(), 2));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    let decoder = tokenizers::decoders::wordpiece::WordPiece::default();
    tokenizer.with_decoder(Some(decoder));
    tokenizer
}

/// Trains a byte-level tokenizer as GPT-2's.
fn byte_level(lines: &[String], vocab_size: usize, space_first: bool) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(BPE::default());
    let pre = ByteLevel::default().add_prefix_space(space_first);
    tokenizer.with_pre_tokenizer(Some(pre));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(pre)));
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .initial_alphabet(alphabet)
        .special_tokens(special(&["<pad>", "<s>", "</s>"]))
        .show_progress(false)
        .build();
    let mut trainer: TrainerWrapper = trainer.into();
    tokenizer
        .train(&mut trainer, lines.iter().map(String::as_str))
        .unwrap();
    tokenizer
}

fn lines() -> Vec<String> {
    SENTENCES.map(String::from).to_vec()
}

const FULL: Options = Options {
    coverage: Coverage::Full,
    block_shift: 4,
    inverse: false,
};

/// A tokenizer and its section.
struct Both {
    host: Tokenizer,
    bytes: Vec<u8>,
}

impl Both {
    fn new(host: Tokenizer, options: Options) -> Self {
        let bytes = section(&host, options).unwrap().bytes;
        Self { host, bytes }
    }

    fn device(&self) -> Device<'_> {
        Device::parse(&self.bytes).unwrap()
    }

    /// Ids without special tokens of both; they must be the same.
    fn compare(&self, text: &str) -> Vec<u32> {
        let host = self.host.encode_fast(text, false).unwrap();
        let mut work = vec![0; 8192.max(self.device().workspace_len())];
        let device = self.device();
        let device = device.tokens(text, &mut work).unwrap();
        let device: Result<Vec<u32>, _> = device.collect();
        let device = device.unwrap();
        assert_eq!(
            device,
            host.get_ids(),
            "{text:?} {:?}: {:?}",
            text.chars().map(|c| c as u32).collect::<Vec<_>>(),
            host.get_tokens()
        );
        device
    }

    /// The same text from ids.
    fn compare_text(&self, ids: &[u32]) -> String {
        let mut found = String::new();
        for skip in [true, false] {
            let mut bytes = Vec::new();
            let sink = |part: &[u8]| bytes.extend_from_slice(part);
            self.device().decode(ids, skip, sink);
            found = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(found, self.host.decode(ids, skip).unwrap(), "{ids:?}");
        }
        found
    }

    /// Ids and segments with special tokens, padding counted.
    fn encode(
        &self,
        texts: (&str, Option<&str>),
        special: bool,
        len: usize,
    ) -> (Vec<u32>, Vec<u8>, Encoded) {
        let device = self.device();
        let mut work = vec![0; 8192.max(device.workspace_len())];
        let (mut ids, mut segments) = (vec![u32::MAX; len], vec![u8::MAX; len]);
        let encoded = device.encode(texts, special, &mut work, &mut ids, &mut segments);
        let encoded = encoded.unwrap();
        ids.truncate(encoded.padded);
        segments.truncate(encoded.padded);
        (ids, segments, encoded)
    }
}

/// A text of random code points of all planes, with what combines, ideographs, controls and punctuation.
fn random_text(r: &mut Random) -> String {
    const RANGES: [(u32, u32); 16] = [
        (0x20, 0x7f),
        (0x20, 0x7f),
        (0x00, 0x20),
        (0x80, 0x250),
        (0x300, 0x370),
        (0x370, 0x600),
        (0x600, 0x1200),
        (0x1100, 0x1200),
        (0x1e00, 0x2100),
        (0x2000, 0x2070),
        (0x3000, 0x3100),
        (0x3400, 0xa000),
        (0xac00, 0xd7a4),
        (0xf900, 0xfb00),
        (0x1_0000, 0x3_0000),
        (0x00, 0x11_0000),
    ];
    let n = r.below(40);
    let mut text = String::new();
    while (text.chars().count() as u32) < n {
        let (start, end) = RANGES[r.below(RANGES.len() as u32) as usize];
        // Runs of one kind, so that marks meet marks and letters meet letters.
        for _ in 0..1 + r.below(5) {
            text.extend(char::from_u32(start + r.below(end - start)));
        }
    }
    text
}
