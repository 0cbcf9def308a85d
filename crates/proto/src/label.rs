//! Closed sets of words: codes on the wire, and labels of metrics and logs.

use std::fmt::Debug;

/// A value of a closed set, each with a stable word of its own. [`crate::labels`] defines one.
pub trait Label: Copy + Eq + Debug + Send + Sync + 'static {
    /// Every value, in the order of documents.
    const ALL: &'static [Self];

    /// The word for it.
    fn as_str(self) -> &'static str;

    /// Its position in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Defines an enum whose values have a word each: `Variant = "word"`. It has `ALL` and `as_str`,
/// also in constants, and is a [`Label`].
#[macro_export]
macro_rules! labels {
    (
        $(#[$about:meta])*
        $vis:vis enum $name:ident {
            $($(#[$doc:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $name {
            /// Every value, in the order of documents.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$value),+];

            /// The word for it.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl $crate::label::Label for $name {
            const ALL: &'static [Self] = &Self::ALL;

            fn as_str(self) -> &'static str {
                self.as_str()
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::Label;

    labels! {
        /// A set for the test.
        enum Colour {
            /// One.
            Red = "red",
            /// The other.
            DarkBlue = "dark-blue",
        }
    }

    #[test]
    fn values_have_words_and_positions() {
        assert_eq!(Colour::ALL.map(Colour::as_str), ["red", "dark-blue"]);
        for (index, colour) in <Colour as Label>::ALL.iter().enumerate() {
            assert_eq!(colour.index(), index, "{}", Label::as_str(*colour));
        }
    }
}
