//! The serializer: walks a value, writes it as `serde_json` would, and repairs what needs it.

use std::{
    fmt::{self, Display, Write as _},
    io,
};

use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};

use super::{
    container::{Close, Container, Mode},
    decimal::Decimal,
    encoder::{Encoder, Stop},
    limit::Bounded,
    raw,
};

/// How many `Some` and newtype structs may lie inside each other along one path. They leave no
/// brackets, so `depth_max` does not see them, but they use the stack all the same.
const WRAPPERS_MAX: usize = 256;

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// Where any JSON value may stand.
    Value,
    /// A key: scalars become strings, everything else is an error.
    Key,
    /// The field of one of [`raw::TOKENS`]: a string that is JSON text, everything else is an error.
    Raw,
}

/// The serializer for one value.
pub(super) struct Clean<'e, 'o> {
    encoder: &'e mut Encoder<'o>,
    place: Place,
}

impl<'e, 'o> Clean<'e, 'o> {
    pub(super) fn new(encoder: &'e mut Encoder<'o>, place: Place) -> Self {
        Self { encoder, place }
    }

    fn scalar(self, write: impl FnOnce(&mut Bounded<'o>) -> io::Result<()>) -> Result<(), Stop> {
        let sink = &mut self.encoder.sink;
        match self.place {
            Place::Value => {
                let before = sink.mark();
                write(sink).map_err(|_| Stop)?;
                self.encoder.guard_scalar(before)
            }
            Place::Key => {
                sink.put_byte(b'"');
                write(sink).map_err(|_| Stop)?;
                sink.put_byte(b'"');
                self.encoder.check()
            }
            Place::Raw => Err(Stop),
        }
    }

    /// A number, truth or null of at most eight bytes, the first of them lowest: too short for what is not stored.
    #[inline]
    fn word(self, text: u64, len: usize) -> Result<(), Stop> {
        let Self { encoder, place } = self;
        if place == Place::Value && encoder.is_simple && encoder.sink.put_first_at_once(text, len) {
            return Ok(());
        }
        Self { encoder, place }.looked_at_word(text, len)
    }

    #[cold]
    #[inline(never)]
    fn looked_at_word(self, text: u64, len: usize) -> Result<(), Stop> {
        let bytes = text.to_le_bytes();
        self.scalar(|sink| {
            sink.put(bytes.get(..len).unwrap_or(&bytes));
            Ok(())
        })
    }

    #[inline(never)]
    fn any_f64(self, value: f64) -> Result<(), Stop> {
        if !value.is_finite() {
            return self.non_finite();
        }
        let Some([whole, rest]) = Decimal::of_large(value) else {
            return self.scalar(|sink| CompactFormatter.write_f64(sink, value));
        };
        self.scalar(|sink| {
            for part in [whole, rest] {
                let text = part.text().to_le_bytes();
                sink.put(text.get(..part.len()).unwrap_or(&text));
            }
            Ok(())
        })
    }

    #[inline(never)]
    fn any_u64(self, value: u64) -> Result<(), Stop> {
        self.scalar(|sink| CompactFormatter.write_u64(sink, value))
    }

    #[inline(never)]
    fn negative(self, value: i64) -> Result<(), Stop> {
        self.scalar(|sink| CompactFormatter.write_i64(sink, value))
    }

    fn null(self) -> Result<(), Stop> {
        if self.place != Place::Value {
            return Err(Stop);
        }
        self.word(u64::from(u32::from_le_bytes(*b"null")), "null".len())
    }

    fn non_finite(self) -> Result<(), Stop> {
        self.encoder.changed.non_finite += 1;
        self.null()
    }

    /// A value that is a `Display`, put together before it is looked at.
    fn guarded_display<T: Display + ?Sized>(self, value: &T) -> Result<(), Stop> {
        let mut whole = Whole { text: String::new(), bytes_max: self.encoder.string_bytes_max };
        if write!(whole, "{value}").is_err() && whole.text.len() <= whole.bytes_max {
            return Err(Stop);
        }
        self.encoder.string(&whole.text, self.place)
    }

    /// `Some` and newtype structs are what is in them.
    fn wrapper<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        let Self { encoder, place } = self;
        if encoder.wrappers == WRAPPERS_MAX {
            if place != Place::Value {
                return Err(Stop);
            }
            encoder.mark_too_deep();
            return encoder.check();
        }
        encoder.wrappers += 1;
        encoder.part(value, place)?;
        encoder.wrappers -= 1;
        Ok(())
    }

    #[inline]
    fn container(self, kind: Close) -> Result<Container<'e, 'o>, Stop> {
        let Self { encoder, place } = self;
        if place != Place::Value {
            return Err(Stop);
        }
        let container = if encoder.open(kind.open()) {
            Container::new(encoder, Mode::Items, kind)
        } else {
            Container::new(encoder, Mode::Skip, Close::Nothing)
        };
        Ok(container)
    }

    /// An enum variant with content: an object with the variant's name as its only key.
    fn variant(self, name: &'static str) -> Result<Container<'e, 'o>, Stop> {
        let mut object = self.container(Close::Object)?;
        object.key(name)?;
        Ok(object)
    }

    /// A variant whose content is itself an array or object.
    fn nested_variant(self, name: &'static str, both: Close) -> Result<Container<'e, 'o>, Stop> {
        let mut container = self.variant(name)?;
        container.value_is_content();
        if std::mem::take(&mut container.hides_value) {
            container.encoder.hide()?;
            container.mode = Mode::Skip;
        }
        if container.mode == Mode::Skip {
            return Ok(container);
        }
        if container.encoder.open(both.open()) {
            container.close = both;
        } else {
            container.mode = Mode::Skip;
        }
        Ok(container)
    }
}

/// Methods for types that `serde_json`'s formatter has a method for.
macro_rules! scalars {
    ($($serialize:ident, $write:ident, $type:ty;)*) => {
        $(fn $serialize(self, value: $type) -> Result<(), Stop> {
            self.scalar(|sink| CompactFormatter.$write(sink, value))
        })*
    };
}

/// Methods for numbers that are written as longer ones.
macro_rules! whole {
    ($($serialize:ident, $longer:ident, $type:ty;)*) => {
        $(fn $serialize(self, value: $type) -> Result<(), Stop> {
            self.$longer(value.into())
        })*
    };
}

impl<'e, 'o> Serializer for Clean<'e, 'o> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Container<'e, 'o>;
    type SerializeTuple = Container<'e, 'o>;
    type SerializeTupleStruct = Container<'e, 'o>;
    type SerializeTupleVariant = Container<'e, 'o>;
    type SerializeMap = Container<'e, 'o>;
    type SerializeStruct = Container<'e, 'o>;
    type SerializeStructVariant = Container<'e, 'o>;

    scalars! {
        serialize_i128, write_i128, i128;
        serialize_u128, write_u128, u128;
    }

    whole! {
        serialize_i8, serialize_i64, i8;
        serialize_i16, serialize_i64, i16;
        serialize_i32, serialize_i64, i32;
        serialize_u8, serialize_u64, u8;
        serialize_u16, serialize_u64, u16;
        serialize_u32, serialize_u64, u32;
    }

    fn serialize_bool(self, value: bool) -> Result<(), Stop> {
        let text = if value { *b"true\0\0\0\0" } else { *b"false\0\0\0" };
        self.word(u64::from_le_bytes(text), if value { "true".len() } else { "false".len() })
    }

    fn serialize_f32(self, value: f32) -> Result<(), Stop> {
        if !value.is_finite() {
            return self.non_finite();
        }
        self.scalar(|sink| CompactFormatter.write_f32(sink, value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Stop> {
        // Only what is finite is one.
        match Decimal::of(value) {
            Some(decimal) => self.word(decimal.text(), decimal.len()),
            None => self.any_f64(value),
        }
    }

    fn serialize_u64(self, value: u64) -> Result<(), Stop> {
        match Decimal::of_whole(value) {
            Some(decimal) => self.word(decimal.text(), decimal.len()),
            None => self.any_u64(value),
        }
    }

    fn serialize_i64(self, value: i64) -> Result<(), Stop> {
        match u64::try_from(value) {
            Ok(value) => self.serialize_u64(value),
            Err(_) => self.negative(value),
        }
    }

    fn serialize_char(self, value: char) -> Result<(), Stop> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Stop> {
        match self.place {
            Place::Raw => raw::transcode(self.encoder, value),
            place @ (Place::Value | Place::Key) => self.encoder.string(value, place),
        }
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Stop> {
        if self.place == Place::Raw {
            return Err(Stop);
        }
        if self.encoder.guard.is_some() {
            return self.guarded_display(value);
        }
        let mut text = self.encoder.text();
        let written = write!(text, "{value}");
        // The text ends its own `Display` once it is full; any other error is the value's.
        if written.is_err() && !text.is_cut() {
            return Err(Stop);
        }
        text.end();
        self.encoder.check()
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Stop> {
        let mut array = self.container(Close::Array)?;
        value.iter().try_for_each(|byte| array.element(byte))?;
        array.finish()
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.null()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.wrapper(value)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.null()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Stop> {
        self.null()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Stop> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.wrapper(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        let mut object = self.variant(variant)?;
        object.value(value)?;
        object.finish()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Container<'e, 'o>, Stop> {
        self.container(Close::Array)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Container<'e, 'o>, Stop> {
        self.container(Close::Array)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Container<'e, 'o>, Stop> {
        self.container(Close::Array)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Container<'e, 'o>, Stop> {
        self.nested_variant(variant, Close::ArrayInVariant)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Container<'e, 'o>, Stop> {
        self.container(Close::Object)
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Container<'e, 'o>, Stop> {
        if !raw::TOKENS.contains(&name) {
            return self.container(Close::Object);
        }
        let Self { encoder, place } = self;
        if place != Place::Value {
            return Err(Stop);
        }
        Ok(Container::new(encoder, Mode::Raw, Close::Nothing))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Container<'e, 'o>, Stop> {
        self.nested_variant(variant, Close::ObjectInVariant)
    }
}

/// A text up to a little more than a limit, so that cutting it can still be counted.
struct Whole {
    text: String,
    bytes_max: usize,
}

impl fmt::Write for Whole {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = (self.bytes_max + MORE_BYTES).saturating_sub(self.text.len());
        self.text.push_str(crate::label::cut(piece, room));
        if self.text.len() > self.bytes_max { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The longest character.
const MORE_BYTES: usize = 4;
