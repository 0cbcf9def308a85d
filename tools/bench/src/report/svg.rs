//! Horizontal bars as SVG, readable on light and on dark ground, with the reader's own fonts.

use std::fmt::Write;

/// A row of a panel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// The value as text.
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// How a bar is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This product.
    Ours,
    /// The theoretical optimum.
    Floor,
    /// Other products.
    Other,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Floor => "floor",
            Self::Other => "other",
        }
    }
}

/// Bars with a title.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const LABELS: f64 = 190.0;
const VALUES: f64 = 90.0;
const MARGIN: f64 = 16.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
const HEAD: f64 = 54.0;
const FOOT: f64 = 26.0;
/// Values that differ more than this are drawn on a logarithmic scale.
const LINEAR_MAX: f64 = 12.0;

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:13px;\
fill:#1f2328}\
.title{font-size:15px;font-weight:600}\
.sub,.tick{font-size:12px;fill:#59636e}\
.grid{stroke:#d1d9e0;stroke-width:1}\
.ours{fill:#1a7f37}.other{fill:#8c959f}.floor{fill:#c8ced5}\
text.ours{font-weight:600;fill:#1a7f37}text.other,text.floor{fill:#1f2328}\
@media (prefers-color-scheme:dark){\
text{fill:#e6edf3}.sub,.tick{fill:#9198a1}.grid{stroke:#3d444d}\
.ours{fill:#3fb950}.other{fill:#7d8590}.floor{fill:#4d555e}\
text.ours{fill:#3fb950}text.other,text.floor{fill:#e6edf3}}";

/// Draws panels one below the other.
pub(super) fn draw(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(Panel::height).sum();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n"
    );
    let mut top = 0.0;
    for panel in panels {
        // Writing to a text does not fail.
        let _ = panel.draw(top, &mut out);
        top += panel.height();
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn height(&self) -> f64 {
        HEAD + ROW * self.bars.len() as f64 + FOOT + MARGIN
    }

    fn draw(&self, top: f64, out: &mut String) -> std::fmt::Result {
        let scale = Scale::of(&self.bars);
        let (title, sub) = (escaped(&self.title), escaped(&self.subtitle));
        writeln!(
            out,
            "<text class=\"title\" x=\"{MARGIN}\" y=\"{:.1}\">{title}</text>\n\
             <text class=\"sub\" x=\"{MARGIN}\" y=\"{:.1}\">{sub}</text>",
            top + 24.0,
            top + 42.0
        )?;
        let bottom = top + HEAD + ROW * self.bars.len() as f64;
        for tick in scale.ticks() {
            let x = scale.x(tick);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\n\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                top + HEAD,
                bottom + 16.0,
                super::plain(tick)
            )?;
        }
        for (index, bar) in self.bars.iter().enumerate() {
            let middle = top + HEAD + ROW * (index as f64 + 0.5);
            let (start, end) = (scale.x(scale.from), scale.x(bar.value));
            let class = bar.kind.class();
            writeln!(
                out,
                "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
                 <rect class=\"{class}\" x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{BAR}\" rx=\"2\"/>\n\
                 <text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                MARGIN + LABELS - 10.0,
                middle + 4.5,
                escaped(&bar.label),
                middle - BAR / 2.0,
                (end - start).max(1.0),
                end + 8.0,
                middle + 4.5,
                escaped(&bar.text),
            )?;
        }
        Ok(())
    }
}

/// Horizontal positions of values.
struct Scale {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(bars: &[Bar]) -> Self {
        let values = || bars.iter().map(|b| b.value).filter(|v| *v > 0.0);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        let least = values().fold(most, f64::min);
        if most / least <= LINEAR_MAX {
            let (from, logarithmic) = (0.0, false);
            return Self {
                from,
                to: most,
                logarithmic,
            };
        }
        Self {
            // A bar needs some length: the least begins half a step up.
            from: least / 2.0,
            to: most,
            logarithmic: true,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            value / self.to
        };
        MARGIN + LABELS + share * (WIDTH - 2.0 * MARGIN - LABELS - VALUES)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.from.log10().ceil() as i32;
            let last = self.to.log10().floor() as i32;
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        // Three to six steps of 1, 2 or 5 times a power of ten.
        let rough = self.to / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|times| times * power)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        (0..)
            .map(|index| f64::from(index) * step)
            .take_while(|tick| *tick <= self.to)
            .collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(values: &[f64]) -> Panel {
        let bar = |&value: &f64| Bar {
            label: "a < b".to_owned(),
            value,
            text: value.to_string(),
            kind: Kind::Other,
        };
        Panel {
            title: "T & U".to_owned(),
            subtitle: String::new(),
            bars: values.iter().map(bar).collect(),
        }
    }

    #[test]
    fn longer_bars_are_larger_values_on_both_scales() {
        for values in [&[1.0, 1.1, 3.0][..], &[0.9, 12.0, 40.0, 300.0]] {
            let scale = Scale::of(&panel(values).bars);
            assert_eq!(scale.logarithmic, values.len() == 4);
            let ends: Vec<f64> = values.iter().map(|v| scale.x(*v)).collect();
            assert!(ends.is_sorted(), "{ends:?}");
            assert!(ends[0] > scale.x(scale.from));
            assert!(ends.iter().all(|x| *x <= WIDTH - MARGIN - VALUES + 0.1));
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = |values: &[f64]| Scale::of(&panel(values).bars).ticks();
        assert_eq!(ticks(&[1.0, 2.4]), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(&[900.0, 12_000.0, 60_000.0]), [1_000.0, 10_000.0]);
    }

    #[test]
    fn text_is_escaped() {
        let drawn = draw(&[panel(&[1.0])]);
        assert!(drawn.contains("T &amp; U") && drawn.contains("a &lt; b"));
        assert_eq!(drawn.matches("<rect").count(), 1);
    }
}
