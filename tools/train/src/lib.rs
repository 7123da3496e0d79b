//! Pretraining and fine-tuning on the host: what `tailtune pretrain` and `tailtune finetune` run.

pub mod augment;
pub mod checkpoint;
pub mod config;
pub mod curve;
pub mod error;
pub mod examples;
pub mod finetune;
pub mod graph;
pub mod masked_frames;
pub mod masked_lm;
pub mod model;
pub mod optimizer;
pub mod params;
pub mod pretrain;
pub mod schedule;
pub mod sequence;
pub mod supervised;
pub mod teacher;
pub mod trainer;
pub mod what;
