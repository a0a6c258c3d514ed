//! What a batch should look like, and what one costs while it grows.

/// What a batch should look like: the wishes of the replica that will score it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Whether a batch costs its real tokens; otherwise all pairs count as long
    /// as the longest.
    pub ragged: bool,
    /// Tokens below which a smaller batch is no faster.
    pub tokens_min: usize,
    pub tokens_max: usize,
    pub pairs_max: usize,
    /// Replicas that share the queue.
    pub replicas: usize,
}

impl Shape {
    /// Real tokens that are one replica's share of what is queued: a small
    /// request alone is spread over all of them, and nothing waits behind a
    /// huge batch.
    pub fn share(&self, queued_tokens: usize) -> usize {
        let share = queued_tokens.div_ceil(self.replicas.max(1));
        share.max(self.tokens_min).min(self.tokens_max)
    }
}

/// A batch that grows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub pairs: usize,
    pub tokens: usize,
    pub shortest: usize,
    pub longest: usize,
}

impl Load {
    pub fn with(self, tokens: u32) -> Load {
        let tokens = tokens as usize;
        let shortest = if self.pairs == 0 { tokens } else { self.shortest };
        Load {
            pairs: self.pairs + 1,
            tokens: self.tokens + tokens,
            shortest: shortest.min(tokens),
            longest: self.longest.max(tokens),
        }
    }

    /// What the engine computes.
    pub fn cost(self, shape: &Shape) -> usize {
        match shape.ragged {
            true => self.tokens,
            false => self.longest * self.pairs,
        }
    }

    /// A pair goes alone if it must.
    pub fn fits(self, shape: &Shape, share: usize) -> bool {
        let within = self.tokens <= share
            && self.cost(shape) <= shape.tokens_max
            && self.pairs <= shape.pairs_max;
        within || self.pairs <= 1
    }
}
