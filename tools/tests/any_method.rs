//! A method chosen at run time: the memory that it says it takes is the memory that it takes.

use tailtune::image::{Activation, InputKind, ModelConfig, NormOrder, Pooling};
use tailtune::model::Head;
use tailtune::tune::{
    AnyHead, AnyMethod, BlockWeights, Buffer, ClassName, Method, MethodId, Optimizer, Recipe,
    Start, TuneError, Workspace,
};
use tailtune_tools::int8::Int8Model;
use tailtune_tools::synthetic;

fn model(d_model: u16, n_heads: u16, d_ff: u16, pooling: Pooling) -> Int8Model {
    let config = ModelConfig {
        n_layers: 1,
        d_model,
        n_heads,
        d_ff,
        seq_len: 9,
        n_classes: 4,
        input: InputKind::Frames {
            n_frames: 8,
            n_features: 5,
        },
        class_token: true,
        norm: NormOrder::Post,
        activation: Activation::Gelu,
        pooling,
        embed_norm: false,
        final_norm: false,
        embedding_rank: 0,
        pooler: false,
        decoder: None,
    };
    let float = synthetic::model(&config, 3);
    let quantized = synthetic::quantized(&float, 40, 3).unwrap();
    Int8Model::new(quantized.writer.finish().unwrap()).unwrap()
}

fn recipes() -> Vec<Recipe> {
    let of = |method| {
        let momentum = Recipe::new(method);
        let (mut plain, mut adam) = (momentum, momentum);
        plain.schedule.momentum = 0.0;
        adam.schedule.optimizer = Optimizer::Adam;
        adam.lora.rank = 7;
        plain.weights = BlockWeights::Copy;
        adam.weights = BlockWeights::CopyMomentum;
        [plain, momentum, adam]
    };
    MethodId::ALL.into_iter().flat_map(of).collect()
}

#[test]
fn the_workspace_is_what_was_said() {
    for (d_model, n_heads, d_ff) in [(16, 2, 24), (15, 3, 7), (64, 1, 256)] {
        let int8 = model(d_model, n_heads, d_ff, Pooling::ClassToken);
        let image = int8.image();
        let head = Head::new(&image).unwrap();
        let start = Start {
            image: &image,
            head: &head,
            state: None,
        };
        for recipe in recipes() {
            let name = recipe.method.name();
            let capacity = 6;
            let len = AnyMethod::workspace_len(&recipe, &start, capacity);
            let mut memory = vec![0.0f32; len];
            let mut names = vec![ClassName::EMPTY; 2];
            let mut work = Workspace::new(&mut memory);
            let mut method =
                AnyMethod::new(&recipe, start, capacity, &mut names, &mut work).unwrap();
            assert_eq!(method.id(), recipe.method);
            // Three are for the alignment of a block.
            assert!(work.left() <= 3, "{name}: {} left of {len}", work.left());
            let classes = [method.add_class("a"), method.add_class("b")];
            assert_eq!(classes, [Ok(4), Ok(5)], "{name}");
            let full = TuneError::ClassesFull { capacity };
            assert_eq!(method.add_class("c"), Err(full), "{name}");
            let schedule = recipe.schedule;
            if !matches!(recipe.method, MethodId::Ncm | MethodId::Ridge) {
                method.begin_epoch(&schedule, 0).unwrap();
            }

            let mut memory = vec![0.0f32; len.saturating_sub(4)];
            let mut work = Workspace::new(&mut memory);
            let made = AnyMethod::new(&recipe, start, capacity, &mut names, &mut work);
            let Err(TuneError::BufferTooSmall { buffer, .. }) = made.map(|_| ()) else {
                panic!("{name}: four numbers less did as well");
            };
            assert_eq!(buffer, Buffer::Workspace);
        }
    }
}

#[test]
fn a_model_that_pools_the_mean_has_no_block_to_tune() {
    let int8 = model(16, 2, 24, Pooling::Mean);
    let image = int8.image();
    let head = Head::new(&image).unwrap();
    let start = Start {
        image: &image,
        head: &head,
        state: None,
    };
    for recipe in recipes() {
        let mut memory = vec![0.0f32; 100_000];
        let (work, names) = (&mut Workspace::new(&mut memory), &mut []);
        let made = AnyMethod::new(&recipe, start, 4, names, work).map(|_| ());
        let expected = match recipe.method.below_the_block() {
            true => Err(TuneError::NoBlock),
            false => Ok(()),
        };
        assert_eq!(made, expected, "{}", recipe.method.name());
    }
}

#[test]
fn heads_alone_are_the_same_heads_and_refuse_a_block() {
    let int8 = model(16, 2, 24, Pooling::ClassToken);
    let image = int8.image();
    let head = Head::new(&image).unwrap();
    let start = Start {
        image: &image,
        head: &head,
        state: None,
    };
    for recipe in recipes() {
        let name = recipe.method.name();
        let capacity = 5;
        let len = AnyMethod::workspace_len(&recipe, &start, capacity);
        let (mut memory, mut names) = (vec![0.0f32; len], vec![ClassName::EMPTY; 1]);
        let work = &mut Workspace::new(&mut memory);
        let made = AnyHead::new(&recipe, start, capacity, &mut names, work);
        if recipe.method.below_the_block() {
            assert_eq!(made.map(|_| ()), Err(TuneError::HeadsOnly), "{name}");
            continue;
        }
        let mut alone = made.unwrap();
        assert_eq!((alone.id(), work.left()), (recipe.method, 0), "{name}");
        assert_eq!(alone.add_class("a"), Ok(4), "{name}");
        let (mut memory, mut names) = (vec![0.0f32; len], vec![ClassName::EMPTY; 1]);
        let work = &mut Workspace::new(&mut memory);
        let mut any = AnyMethod::new(&recipe, start, capacity, &mut names, work).unwrap();
        any.add_class("a").unwrap();
        let len = alone.tail_buffer_len();
        assert_eq!(any.tail_buffer_len(), len, "{name}");
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        let (mut before, mut also) = ([0; 16], [0; 16]);
        let alone = alone.tail_parts(&mut before, &mut a).unwrap();
        assert_eq!(any.tail_parts(&mut also, &mut b).unwrap(), alone, "{name}");
    }
}
