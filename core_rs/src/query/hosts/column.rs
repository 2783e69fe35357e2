//! Columns of numbers in messages: bytes of one width instead of a tag before each number.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// A number of a fixed width, little-endian.
pub trait Fixed: Copy {
    /// Bytes of one.
    const WIDTH: usize;

    /// Appends one.
    fn put(self, out: &mut Vec<u8>);

    /// Reads one from [`Fixed::WIDTH`] bytes.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! fixed {
    ($($number:ty),*) => {$(
        impl Fixed for $number {
            const WIDTH: usize = size_of::<$number>();

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$number>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    )*};
}

fixed!(u16, u32, f64);

/// One after the other.
impl Fixed for (u32, f64, f64) {
    const WIDTH: usize = u32::WIDTH + 2 * f64::WIDTH;

    fn put(self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn take(bytes: &[u8]) -> Self {
        let (first, rest) = bytes.split_at(u32::WIDTH);
        let (second, third) = rest.split_at(f64::WIDTH);
        (u32::take(first), f64::take(second), f64::take(third))
    }
}

/// Writes a column.
pub fn serialize<T: Fixed, S: Serializer>(column: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(column.len() * T::WIDTH);
    column.iter().for_each(|number| number.put(&mut bytes));
    serializer.serialize_bytes(&bytes)
}

/// Reads a column. Errors: bytes that are no whole number of numbers.
pub fn deserialize<'de, T: Fixed, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_bytes(ColumnVisitor(PhantomData))
}

struct ColumnVisitor<T>(PhantomData<T>);

impl<T: Fixed> Visitor<'_> for ColumnVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "numbers of {} bytes", T::WIDTH)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        let numbers = bytes.chunks_exact(T::WIDTH);
        if !numbers.remainder().is_empty() {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(numbers.map(T::take).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Columns {
        #[serde(with = "super")]
        places: Vec<u32>,
        #[serde(with = "super")]
        scores: Vec<f64>,
        #[serde(with = "super")]
        links: Vec<(u32, f64, f64)>,
    }

    #[test]
    fn columns_survive_their_bytes_and_torn_ones_are_refused() {
        let columns = Columns {
            places: vec![0, 7, u32::MAX],
            scores: vec![0.1, -0.0, f64::MAX, f64::MIN_POSITIVE],
            links: vec![(3, 0.5, -1.0), (u32::MAX, f64::EPSILON, 0.0)],
        };
        let bytes = rmp_serde::to_vec(&columns).unwrap();
        assert_eq!(bytes.len(), 1 + 2 + 3 * 4 + 2 + 4 * 8 + 2 + 2 * 20);
        let read: Columns = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, columns);
        let torn = rmp_serde::to_vec(&(Bytes(&[1, 2, 3, 4, 5]), Bytes(&[]), Bytes(&[]))).unwrap();
        assert!(rmp_serde::from_slice::<Columns>(&torn).is_err());
    }

    struct Bytes(&'static [u8]);

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
}
