//! The fake-quantized forward against the integer runtime on the same grids: what is left between
//! the two is integer arithmetic.

use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune_tools::int8::Int8Model;
use tailtune_tools::quantize::fake::{FakeError, FakeQuantized};
use tailtune_tools::reference::{ModelInput, forward};
use tailtune_tools::synthetic::{self, Random};

const POST: ModelConfig = ModelConfig {
    n_layers: 2,
    d_model: 24,
    n_heads: 3,
    d_ff: 40,
    seq_len: 11,
    n_classes: 5,
    input: InputKind::Frames {
        n_frames: 10,
        n_features: 7,
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

const PRE: ModelConfig = ModelConfig {
    norm: NormOrder::Pre,
    activation: Activation::Relu,
    pooling: Pooling::Mean,
    embed_norm: true,
    final_norm: true,
    ..POST
};

const TOKENS: ModelConfig = ModelConfig {
    input: InputKind::Tokens {
        vocab_size: 40,
        n_segments: 2,
    },
    seq_len: 10,
    class_token: false,
    pooling: Pooling::First,
    embed_norm: true,
    ..POST
};

const POOLER: ModelConfig = ModelConfig {
    embedding_rank: 12,
    pooler: true,
    ..TOKENS
};

/// Signal to noise ratio in dB.
fn sqnr(exact: &[f32], found: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let signal: f64 = exact.iter().map(|&x| square(x)).sum();
    let noise: f64 = exact.iter().zip(found).map(|(a, b)| square(a - b)).sum();
    10.0 * libm::log10(signal / noise.max(1e-30))
}

/// Int8's logits lie closer to the fake-quantized ones than to float's.
#[test]
fn integer_arithmetic_adds_little_to_the_grid() {
    for (name, config) in [
        ("post", POST),
        ("pre", PRE),
        ("tokens", TOKENS),
        ("pooler", POOLER),
    ] {
        let model = synthetic::model(&config, 3);
        let quantized = synthetic::quantized(&model, 200, 4).unwrap();
        let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
        let fake = FakeQuantized::new(&model, &int8.image()).unwrap();
        let r = &mut Random::new(9);
        let input = |_| synthetic::input(&config, config.max_input_len(), r);
        let clips: Vec<ModelInput> = (0..64).map(input).collect();
        let found = int8.logits(&clips, &|| ()).unwrap().concat();
        let all = |one: &dyn Fn(&ModelInput) -> Vec<f32>| -> Vec<f32> {
            clips.iter().flat_map(one).collect()
        };
        let float = all(&|c| forward(&model, c.float(), &mut ()).logits);
        let faked = all(&|c| fake.forward(c.float()).logits);
        let (grid, arithmetic) = (sqnr(&float, &faked), sqnr(&faked, &found));
        let whole = sqnr(&float, &found);
        println!(
            "{name}: float/fake {grid:.1} dB, fake/int8 {arithmetic:.1}, float/int8 {whole:.1}"
        );
        assert!(grid > 20.0, "{name}: {grid} dB");
        assert!(
            arithmetic > 28.0 && arithmetic > whole,
            "{name}: {arithmetic} dB, {whole} dB"
        );
    }
}

#[test]
fn another_models_image_is_refused() {
    let quantized = synthetic::quantized(&synthetic::model(&POST, 1), 20, 2).unwrap();
    let int8 = Int8Model::new(quantized.writer.finish().unwrap()).unwrap();
    let error = FakeQuantized::new(&synthetic::model(&PRE, 1), &int8.image()).unwrap_err();
    assert!(matches!(error, FakeError::Architecture));
}
