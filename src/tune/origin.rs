//! Where a head starts from and goes back to: the image, or a stored tail, where it lies.

use crate::model::Cut;

/// Where a head's numbers come from, and where they go back to when a tune is given up.
///
/// Read rarely: speed does not matter, but every call must give the same numbers.
pub trait HeadOrigin {
    /// Returns the width of a feature.
    fn d_model(&self) -> usize;
    /// Returns the number of classes.
    fn classes(&self) -> usize;
    /// Returns what the head reads.
    fn cut(&self) -> Cut {
        Cut::Pooled
    }
    /// Returns how many of the classes are the image's own; those after them were added.
    fn model_classes(&self) -> usize {
        self.classes()
    }
    /// Returns the name of an added class, counted from the first added one.
    fn added_name(&self, index: usize) -> Option<&str> {
        let _ = index;
        None
    }
    /// Returns the weight from feature `k` to `class`.
    fn weight(&self, class: usize, k: usize) -> f32;
    /// Returns the bias of `class`.
    fn bias(&self, class: usize) -> f32;
}

impl HeadOrigin for crate::model::Head<'_> {
    fn d_model(&self) -> usize {
        self.n_features()
    }
    fn classes(&self) -> usize {
        self.n_classes()
    }
    fn cut(&self) -> Cut {
        crate::model::Head::cut(self)
    }
    fn weight(&self, class: usize, k: usize) -> f32 {
        crate::model::Head::weight(self, class, k)
    }
    fn bias(&self, class: usize) -> f32 {
        crate::model::Head::bias(self, class)
    }
}

/// A [`HeadOrigin`] made of two closures: any other head.
#[derive(Debug, Clone, Copy)]
pub struct OriginFn<W, B> {
    d_model: usize,
    classes: usize,
    weight: W,
    bias: B,
}

impl<W: Fn(usize, usize) -> f32, B: Fn(usize) -> f32> OriginFn<W, B> {
    /// Returns an origin with `weight(class, k)` and `bias(class)`.
    pub const fn new(d_model: usize, classes: usize, weight: W, bias: B) -> Self {
        Self {
            d_model,
            classes,
            weight,
            bias,
        }
    }
}

impl<W: Fn(usize, usize) -> f32, B: Fn(usize) -> f32> HeadOrigin for OriginFn<W, B> {
    fn d_model(&self) -> usize {
        self.d_model
    }
    fn classes(&self) -> usize {
        self.classes
    }
    fn weight(&self, class: usize, k: usize) -> f32 {
        (self.weight)(class, k)
    }
    fn bias(&self, class: usize) -> f32 {
        (self.bias)(class)
    }
}

/// A [`HeadOrigin`] without classes: all of them are added later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromScratch {
    /// Width of a feature.
    pub d_model: usize,
}

impl HeadOrigin for FromScratch {
    fn d_model(&self) -> usize {
        self.d_model
    }
    fn classes(&self) -> usize {
        0
    }
    fn weight(&self, _class: usize, _k: usize) -> f32 {
        0.0
    }
    fn bias(&self, _class: usize) -> f32 {
        0.0
    }
}
