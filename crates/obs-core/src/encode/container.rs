//! Arrays and objects on their way out.

use serde::{Serialize, ser};

use super::{
    clean::{Clean, Place},
    encoder::{Encoder, Stop},
};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Parts are written.
    Items,
    /// A marker stands in the place of this container; its parts are not looked at.
    Skip,
    /// The one field is JSON text.
    Raw,
}

/// What ends a container.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Close {
    /// Of a marker or JSON text.
    Nothing,
    Array,
    Object,
    /// Of a variant's content, and the variant.
    ArrayInVariant,
    ObjectInVariant,
}

impl Close {
    /// What begins it.
    #[inline]
    pub(super) const fn open(self) -> u8 {
        match self {
            Self::Array | Self::ArrayInVariant => b'[',
            Self::Object | Self::ObjectInVariant | Self::Nothing => b'{',
        }
    }

    const fn brackets(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Array => b"]",
            Self::Object => b"}",
            Self::ArrayInVariant => b"]}",
            Self::ObjectInVariant => b"}}",
        }
    }
}

/// An array or object that is being written.
pub(super) struct Container<'e, 'o> {
    pub(super) encoder: &'e mut Encoder<'o>,
    pub(super) mode: Mode,
    pub(super) close: Close,
    pub(super) is_empty: bool,
    /// A key was written and its value was not: the two are one unfinished part.
    owes_value: bool,
    /// That value must not be stored.
    pub(super) hides_value: bool,
}

impl<'e, 'o> Container<'e, 'o> {
    #[inline]
    pub(super) fn new(encoder: &'e mut Encoder<'o>, mode: Mode, close: Close) -> Self {
        encoder.unfinished += 1;
        Self { encoder, mode, close, is_empty: true, owes_value: false, hides_value: false }
    }

    #[inline]
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        if self.mode == Mode::Skip {
            return self.encoder.spend(1);
        }
        self.separate();
        self.encoder.part(value, Place::Value)
    }

    #[inline]
    pub(super) fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        if self.owes_value {
            return Err(Stop);
        }
        if self.mode == Mode::Skip {
            self.owes_value = true;
            return self.encoder.spend(1);
        }
        self.separate();
        let before = self.encoder.sink.mark();
        self.encoder.unfinished += 1;
        key.serialize(Clean::new(self.encoder, Place::Key))?;
        self.owes_value = true;
        self.hides_value = self.encoder.hides_value_of_name(before);
        Ok(())
    }

    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        if !self.owes_value {
            return Err(Stop);
        }
        self.owes_value = false;
        if self.mode == Mode::Skip {
            return self.encoder.spend(1);
        }
        if std::mem::take(&mut self.hides_value) {
            self.encoder.hide()?;
        } else {
            value.serialize(Clean::new(self.encoder, Place::Value))?;
        }
        self.encoder.unfinished -= 1;
        Ok(())
    }

    /// The value that is owed is what is written next.
    pub(super) fn value_is_content(&mut self) {
        if std::mem::take(&mut self.owes_value) && self.mode != Mode::Skip {
            self.encoder.unfinished -= 1;
        }
        self.is_empty = true;
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Stop> {
        if self.mode != Mode::Raw {
            self.key(key)?;
            return self.value(value);
        }
        if !self.is_empty {
            return Err(Stop);
        }
        self.is_empty = false;
        self.encoder.part(value, Place::Raw)
    }

    #[inline]
    fn separate(&mut self) {
        if !self.is_empty {
            self.encoder.sink.put_byte(b',');
        }
        self.is_empty = false;
    }

    /// Ends the container; until here the container counts as unfinished, also if this fails.
    #[inline]
    pub(super) fn finish(self) -> Result<(), Stop> {
        let Self { encoder, mode, close, is_empty, owes_value, hides_value: _ } = self;
        let lacks_text = mode == Mode::Raw && is_empty;
        if owes_value || lacks_text {
            return Err(Stop);
        }
        encoder.unfinished -= 1;
        let is_closed = match close {
            Close::Array => encoder.close_at_once(b']'),
            Close::Object => encoder.close_at_once(b'}'),
            _ => false,
        };
        if is_closed { Ok(()) } else { encoder.close(close.brackets()) }
    }
}

/// The traits of things that are arrays in JSON.
macro_rules! arrays {
    ($($kind:ident, $part:ident;)*) => {
        $(impl ser::$kind for Container<'_, '_> {
            type Ok = ();
            type Error = Stop;

            fn $part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.element(value)
            }

            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        })*
    };
}

arrays! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

/// The traits of things that are objects with known keys in JSON.
macro_rules! structs {
    ($($kind:ident;)*) => {
        $(impl ser::$kind for Container<'_, '_> {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Stop> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        })*
    };
}

structs! {
    SerializeStruct;
    SerializeStructVariant;
}

impl ser::SerializeMap for Container<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.value(value)
    }

    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}
