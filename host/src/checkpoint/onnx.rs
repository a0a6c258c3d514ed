//! The few messages of an ONNX file that [`import`](super::import) reads, and
//! the bounds within which it reads them.
//!
//! Source of the field numbers: `onnx/onnx.proto` of ONNX 1.20, IR version 7 and
//! later. Fields that are not declared are skipped.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Bytes of the file that are not weights: nodes, names, small tensors. Decoded
/// they take up to a hundred times as much memory. A 12-layer encoder has half
/// a megabyte.
const STRUCTURE_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "5")]
    pub tensor: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// Values are in `raw` (little-endian) or in the field of their type.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub ints: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub longs: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub raw: Bytes,
    /// 1 where the values are in another file.
    #[prost(int32, tag = "14")]
    pub location: i32,
}

/// `TensorProto.DataType`.
pub const FLOAT: i32 = 1;
pub const UINT8: i32 = 2;
pub const INT8: i32 = 3;
pub const INT64: i32 = 7;

/// Reads a file; weights are not copied.
pub fn decode(file: Bytes) -> Result<Graph, String> {
    let structure = structure_bytes(&file).ok_or("it is not a protobuf message")?;
    if structure > STRUCTURE_BYTES_MAX {
        return Err(format!(
            "{structure} bytes of it are not weights, over the limit of {STRUCTURE_BYTES_MAX}"
        ));
    }
    let model = Model::decode(file).map_err(|error| error.to_string())?;
    model.graph.ok_or_else(|| "it has no graph".to_owned())
}

/// The file's size less the raw data of its initialisers; `None` if the message
/// is cut off or garbled on the way there.
fn structure_bytes(file: &[u8]) -> Option<usize> {
    let mut weights = 0;
    for graph in Fields(file).within(7) {
        for tensor in Fields(graph?).within(5) {
            for raw in Fields(tensor?).within(9) {
                weights += raw?.len();
            }
        }
    }
    Some(file.len() - weights)
}

/// The fields of one message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The length-delimited fields with this number.
    fn within(self, number: u32) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.filter_map(move |field| match field {
            Some((found, bytes)) if found == number => Some(Some(bytes)),
            Some(_) => None,
            None => Some(None),
        })
    }

    /// Takes one field off the front; its bytes are empty if it is a number.
    fn take(&mut self) -> Option<(u32, &'a [u8])> {
        let (number, wire) = decode_key(&mut self.0).ok()?;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                return Some((number, &[]));
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((number, bytes))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u32, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}
