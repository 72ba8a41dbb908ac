//! Arrays and objects on their way out.

use serde::{Serialize, ser};

use super::{
    clean::Place,
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

/// An array or object that is being written.
pub(super) struct Container<'e, 'o> {
    pub(super) encoder: &'e mut Encoder<'o>,
    pub(super) mode: Mode,
    /// The brackets that end it: none for a marker or for JSON text, two for a variant's content.
    pub(super) close: &'static [u8],
    pub(super) is_empty: bool,
    /// A key was written and its value was not.
    pub(super) owes_value: bool,
    /// That value must not be stored.
    pub(super) hides_value: bool,
}

impl<'e, 'o> Container<'e, 'o> {
    pub(super) fn new(encoder: &'e mut Encoder<'o>, mode: Mode, close: &'static [u8]) -> Self {
        encoder.unfinished += 1;
        Self { encoder, mode, close, is_empty: true, owes_value: false, hides_value: false }
    }

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
        self.owes_value = true;
        if self.mode == Mode::Skip {
            return self.encoder.spend(1);
        }
        self.separate();
        let before = self.encoder.sink.mark();
        self.encoder.part(key, Place::Key)?;
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
            return self.encoder.hide();
        }
        self.encoder.part(value, Place::Value)
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
    pub(super) fn finish(self) -> Result<(), Stop> {
        let lacks_text = self.mode == Mode::Raw && self.is_empty;
        if self.owes_value || lacks_text {
            return Err(Stop);
        }
        self.encoder.close(self.close);
        self.encoder.unfinished -= 1;
        self.encoder.check()
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
