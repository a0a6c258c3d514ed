//! The last minutes, a point a second, so that a page which is opened later shows
//! what was before. Points are small and of one size whatever is served.

use std::collections::VecDeque;

/// Points that are kept; older ones are forgotten.
#[derive(Debug)]
pub struct History<P> {
    points: VecDeque<P>,
    points_max: usize,
    count: u64,
}

impl<P> History<P> {
    pub fn new(points_max: usize) -> Self {
        History { points: VecDeque::with_capacity(points_max), points_max, count: 0 }
    }

    /// Returns how many have come by now, this one included.
    pub fn push(&mut self, point: P) -> u64 {
        if self.points.len() == self.points_max {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.count += 1;
        self.count
    }

    /// Of all that ever came.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What came after the first `seen`, as far as it is kept, oldest first.
    pub fn since(&self, seen: u64) -> impl ExactSizeIterator<Item = &P> {
        let new = usize::try_from(self.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.points.iter().skip(self.points.len().saturating_sub(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_points_are_forgotten_and_new_ones_are_told_once() {
        let mut history = History::new(3);
        let told = |history: &History<u64>, seen| history.since(seen).copied().collect::<Vec<_>>();
        assert_eq!(told(&history, 0), [0; 0]);
        assert_eq!((history.push(10), history.push(11)), (1, 2));
        assert_eq!(told(&history, 0), [10, 11]);
        assert_eq!(told(&history, 1), [11]);
        assert_eq!(told(&history, 2), [0; 0]);
        assert_eq!((history.push(12), history.push(13)), (3, 4));
        assert_eq!(told(&history, 0), [11, 12, 13], "what is gone is not told");
        assert_eq!(told(&history, 3), [13]);
        assert_eq!(told(&history, 9), [0; 0]);
    }
}
