//! Power cut at every operation of the save of a last block that was tuned, given to the store by its parts:
//! the next boot finds the old tail or the new one, whole, and says which.

#[path = "../../tests/common/mock_flash.rs"]
#[allow(dead_code)]
mod mock_flash;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use mock_flash::{Cut, MockError, MockFlash, Torn};
use tailtune::image::{Activation, DecoderConfig, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::Head;
use tailtune::store::{Recovery, Store};
use tailtune::tune::{
    AnyMethod, ClassName, Fit, MethodId, Recipe, Replay, Start, Tail, TailOutput, Workspace,
};
use tailtune_tools::adapt::latent_scale;
use tailtune_tools::adapt::sequences::{SequencePair, learn};
use tailtune_tools::adapt::tuning::Plan;
use tailtune_tools::image_writer::AlignedBytes;
use tailtune_tools::int8::Int8Model;
use tailtune_tools::reference::ModelInput;
use tailtune_tools::synthetic::{self, Random};

const BLOCK: usize = 4096;
type Flash = MockFlash<4, 4, BLOCK>;

/// One programmed word or one erased block.
enum Operation {
    Write(u32, [u8; 4]),
    Erase(u32),
}

/// A flash that notes what is done to it.
struct Noted {
    flash: Flash,
    done: Vec<Operation>,
}

impl ErrorType for Noted {
    type Error = MockError;
}

impl ReadNorFlash for Noted {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), MockError> {
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for Noted {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), MockError> {
        for at in (from..to).step_by(BLOCK) {
            self.done.push(Operation::Erase(at));
        }
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), MockError> {
        for (at, word) in (offset..).step_by(4).zip(bytes.chunks_exact(4)) {
            self.done
                .push(Operation::Write(at, word.try_into().unwrap()));
        }
        self.flash.write(offset, bytes)
    }
}

impl Operation {
    fn apply(&self, flash: &mut Flash) -> Result<(), MockError> {
        match self {
            Self::Write(at, word) => flash.write(*at, word),
            Self::Erase(at) => flash.erase(*at, at + BLOCK as u32),
        }
    }
}

fn model(d_model: u16, d_ff: u16, seq_len: u16) -> Int8Model {
    let config = ModelConfig {
        n_layers: 1,
        d_model,
        n_heads: 1,
        d_ff,
        seq_len,
        n_classes: 12,
        input: InputKind::Frames {
            n_frames: seq_len - 1,
            n_features: 8,
        },
        class_token: true,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling: Pooling::ClassToken,
        embed_norm: false,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };
    let float = synthetic::model(&config, 3);
    let quantized = synthetic::quantized(&float, 20, 3).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

/// Tunes the last block on three samples and saves it by its parts; returns the tail.
fn tune_and_save(int8: &Int8Model, seed: u32, flash: &mut impl NorFlash) -> Vec<u8> {
    if int8.config().decoder.is_some() {
        return tune_and_save_decoder(int8, seed, flash);
    }
    let image = int8.image();
    let (head, config) = (Head::new(&image).unwrap(), int8.config());
    let r = &mut Random::new(seed.into());
    let inputs: Vec<Vec<f32>> = (0..3)
        .map(
            |_| match synthetic::input(&config, config.max_input_len(), r) {
                ModelInput::Frames(frames) => frames,
                ModelInput::Tokens(..) => panic!("the model reads frames"),
            },
        )
        .collect();
    let inputs = int8.quantize(&inputs).unwrap();
    let latents = int8.latents(&inputs, &|| ()).unwrap();
    let (scale, zero_point) = latent_scale(&image).unwrap();
    let len = latents[0].1.len();
    let (mut values, mut labels) = (vec![0; 3 * len], [0; 3]);
    let mut samples = Replay::new(&mut values, &mut labels, len).unwrap();
    for (label, (_, values)) in (0..).zip(&latents) {
        let features = tailtune::model::Features {
            values,
            scale,
            zero_point,
        };
        samples.push(&features, label, 12).unwrap();
    }
    let mut recipe = Recipe::new(MethodId::LastBlock);
    recipe.schedule.epochs = 1;
    recipe.schedule.seed = seed;
    let start = Start {
        image: &image,
        head: &head,
        state: None,
    };
    let mut memory = vec![0.0; AnyMethod::workspace_len(&recipe, &start, 12)];
    let (mut work, names) = (Workspace::new(&mut memory), &mut [] as &mut [ClassName]);
    let mut method = AnyMethod::new(&recipe, start, 12, names, &mut work).unwrap();
    let fit = Fit::new(&mut method, &mut samples, &recipe.schedule).unwrap();
    assert_eq!(fit.finish().unwrap().steps, 3);
    let mut buffer = vec![0; method.tail_buffer_len()];
    let mut before = [0; 16];
    let parts = method.tail_parts(&mut before, &mut buffer).unwrap();
    let end = flash.capacity() as u32;
    let mut store = Store::new(flash, 0..end).unwrap();
    store.save_parts(&image.model_id().0, &parts).unwrap();
    parts.concat()
}

/// Tunes the last block of a decoder by adapters, on three pairs; returns the tail.
fn tune_and_save_decoder(int8: &Int8Model, seed: u32, flash: &mut impl NorFlash) -> Vec<u8> {
    let r = &mut Random::new(seed.into());
    let pairs: Vec<SequencePair> = (0..3)
        .map(|_| SequencePair {
            input: synthetic::input(&int8.config(), 4, r),
            right: vec![(0..3).map(|_| 1 + r.below(7)).collect()],
        })
        .collect();
    let mut plan = Plan::new(MethodId::Lora);
    plan.schedule.epochs = 1;
    plan.lora.seed = seed;
    let tuned = learn(int8, &pairs, &[], &plan, &|| ()).unwrap();
    let end = flash.capacity() as u32;
    let mut store = Store::new(flash, 0..end).unwrap();
    let id = int8.image().model_id().0;
    store.save(&id, &tuned.tail).unwrap();
    tuned.tail.to_vec()
}

fn decoder() -> Int8Model {
    let decoder = DecoderConfig {
        n_layers: 1,
        seq_len: 6,
        vocab_size: 9,
        start: 0,
        end: 8,
        tied: true,
        embed_norm: false,
        final_norm: true,
    };
    let config = ModelConfig {
        n_layers: 1,
        d_model: 16,
        n_heads: 2,
        d_ff: 24,
        seq_len: 6,
        n_classes: 0,
        input: InputKind::Tokens {
            vocab_size: 12,
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
        decoder: Some(decoder),
    };
    let float = synthetic::model(&config, 4);
    let quantized = synthetic::quantized(&float, 20, 4).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

/// A decoder's tail that lies in a store: what it writes before a cut and after is the old or the new.
#[test]
fn cuts_of_a_decoders_tail_leave_the_old_or_the_new() {
    const TORN: [Torn; 4] = [Torn::Untouched, Torn::Half, Torn::Noise(7), Torn::Done];
    let int8 = decoder();
    let tried = [false, true].map(|ecc| cuts(&int8, ecc, &TORN));
    println!("{tried:?} cut points tried, 0 lost");
    assert!(tried.iter().sum::<usize>() > 3_000, "{tried:?}");
}

fn cuts(int8: &Int8Model, ecc: bool, torn: &[Torn]) -> usize {
    let id = int8.image().model_id().0;
    let slot_blocks = (tail_len(int8) + 256).div_ceil(BLOCK);
    let mut flash = Flash::new(2 * slot_blocks);
    flash.ecc = ecc;
    // Both slots hold something.
    tune_and_save(int8, 1, &mut flash);
    let old = tune_and_save(int8, 2, &mut flash);
    let mut noted = Noted {
        flash: flash.clone(),
        done: Vec::new(),
    };
    let new = tune_and_save(int8, 3, &mut noted);
    assert_ne!(old, new);
    let operations = noted.done;
    let last = operations.len() - 1;
    let mut tried = 0;
    for (index, operation) in operations.iter().enumerate() {
        for &torn in torn {
            let mut cut = flash.clone();
            cut.cut = Some(Cut { after: 0, torn });
            assert!(operation.apply(&mut cut).is_err());
            cut.boot();
            let end = cut.bytes.len() as u32;
            let mut store = Store::new(&mut cut, 0..end).unwrap();
            let (saved, recovery) = store.boot(&id).unwrap();
            let found = cut.bytes[saved.offset as usize..][..saved.len].to_vec();
            let at = format!("operation {index} of {last}, {torn:?}");
            match recovery {
                // Nothing of the save was done yet.
                Recovery::Newest if found == old => assert!(cut.bytes == flash.bytes, "{at}"),
                Recovery::Newest => assert!(found == new && index == last, "{at}"),
                Recovery::PreviousAfterTornSave => assert!(found == old, "{at}"),
            }
            tried += 1;
        }
        operation.apply(&mut flash).unwrap();
    }
    let end = flash.bytes.len() as u32;
    let mut store = Store::new(&mut flash, 0..end).unwrap();
    assert_eq!(store.boot(&id).unwrap().1, Recovery::Newest);
    for tail in [&old, &new] {
        let tail = AlignedBytes::new(tail);
        let tail = Tail::parse(&tail).unwrap();
        let decodes = int8.config().decoder.is_some();
        let method = if decodes {
            MethodId::Lora
        } else {
            MethodId::LastBlock
        };
        assert_eq!(tail.method(), method);
        assert!(!decodes || TailOutput::new(tail, &int8.config()).is_ok());
        int8.image().patched(tail.block()).unwrap();
    }
    tried
}

fn tail_len(int8: &Int8Model) -> usize {
    let mut flash = Flash::new(64);
    tune_and_save(int8, 1, &mut flash).len()
}

#[test]
fn cuts_of_a_last_block_leave_the_old_or_the_new() {
    const TORN: [Torn; 4] = [Torn::Untouched, Torn::Half, Torn::Noise(7), Torn::Done];
    let small = model(24, 40, 9);
    let kwt1 = model(64, 256, 99);
    assert!(tail_len(&kwt1) > 54 * 1024);
    let tried = [
        cuts(&small, false, &TORN),
        cuts(&small, true, &TORN),
        cuts(&kwt1, false, &[Torn::Half]),
    ];
    println!("{tried:?} cut points tried, 0 lost");
    assert!(tried.iter().sum::<usize>() > 25_000, "{tried:?}");
}
