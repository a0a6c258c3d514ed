//! What a token is before the first layer: its word's row plus its place's, normalised.

use crate::norm::Norm;

/// A table with a row for each word and one for each place.
pub struct Embedding {
    words: Words,
    places: Vec<f32>,
    norm: Norm,
}

/// Rows of words, as checkpoints store them.
pub enum Words {
    Floats(Vec<f32>),
    /// Integers times the scale of their row.
    Int8 {
        values: Vec<i8>,
        scales: Vec<f32>,
    },
}

impl Embedding {
    /// Tables whose rows are as wide as the norm.
    pub fn new(words: Words, places: Vec<f32>, norm: Norm) -> Self {
        let width = norm.width();
        let numbers = match &words {
            Words::Floats(values) => values.len(),
            Words::Int8 { values, scales } => {
                assert_eq!(values.len(), scales.len() * width, "a scale for each row");
                values.len()
            }
        };
        assert!(numbers.is_multiple_of(width) && places.len().is_multiple_of(width));
        Embedding { words, places, norm }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.norm.width()
    }

    /// A row for each token, which is a row of the words and one of the places. In plain
    /// Rust: it reads two rows from far memory and writes one, and adding costs nothing.
    pub fn apply(&self, words: &[u32], places: &[u32], rows: &mut [f32]) {
        let width = self.width();
        assert_eq!(words.len(), places.len());
        assert_eq!(rows.len(), words.len() * width);
        let tokens = words.iter().zip(places);
        for (row, (word, place)) in rows.chunks_exact_mut(width).zip(tokens) {
            let word = *word as usize;
            let each = row.iter_mut().zip(&self.places[*place as usize * width..][..width]);
            match &self.words {
                Words::Floats(table) => {
                    for ((to, place), word) in each.zip(&table[word * width..][..width]) {
                        *to = word + place;
                    }
                }
                Words::Int8 { values, scales } => {
                    let scale = scales[word];
                    for ((to, place), value) in each.zip(&values[word * width..][..width]) {
                        *to = f32::from(*value) * scale + place;
                    }
                }
            }
        }
        self.norm.apply(rows);
    }
}
