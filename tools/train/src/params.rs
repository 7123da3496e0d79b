//! Parameters by name, in a fixed order, and which of them move.

use tailtune_tools::export::Tensor;
use tailtune_tools::import::names;

/// One parameter tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name, shape and values.
    pub tensor: Tensor,
    /// Whether training changes it.
    pub moves: bool,
}

impl Param {
    /// Returns whether weight decay applies: to matrices that multiply, not to biases, norms and
    /// tables (Loshchilov & Hutter, arXiv 1711.05101, leave it open; BERT's own code does so).
    pub fn decays(&self) -> bool {
        let positions = [names::POSITIONS, names::TARGET_POSITIONS];
        self.tensor.shape.len() > 1 && !positions.contains(&self.tensor.name.as_str())
    }
}

/// All parameters of a model and of the heads that training adds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params(Vec<Param>);

impl Params {
    /// Takes tensors that all move.
    pub fn new(tensors: Vec<Tensor>) -> Self {
        let param = |tensor| Param {
            tensor,
            moves: true,
        };
        Self(tensors.into_iter().map(param).collect())
    }

    /// Returns the parameters in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.0.iter()
    }

    /// Returns the parameters in their order.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Param> {
        self.0.iter_mut()
    }

    /// Adds one.
    pub fn push(&mut self, tensor: Tensor, moves: bool) {
        self.0.push(Param { tensor, moves });
    }

    /// Returns the tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().map(|p| &p.tensor).find(|t| t.name == name)
    }

    /// Returns the tensor of a name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.0
            .iter_mut()
            .map(|p| &mut p.tensor)
            .find(|t| t.name == name)
    }

    /// Returns the elements, of those that move or of all.
    pub fn count(&self, moving: bool) -> usize {
        let counted = self.0.iter().filter(|p| p.moves || !moving);
        counted.map(|p| p.tensor.values.len()).sum()
    }
}
