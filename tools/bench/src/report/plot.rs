//! The chart of the main figures: cost of a delivery and of a connection.

use super::svg::{Bar, Kind, Panel};
use super::table::Series;
use super::{GATEWAY, GATEWAY_RABBITMQ, Page, REFERENCE, short, svg, whole};
use crate::outcome::Outcome;

/// Draws the main figures as SVG. `None` where they were not measured.
#[must_use]
pub fn plot(outcomes: &[Outcome]) -> Option<String> {
    let page = Page {
        outcomes,
        published: &[],
    };
    let cpu = page.panel(
        "CPU per delivery",
        "one room, 1,000 subscribers, 20,000 deliveries/s; 1 is a bare send for each socket",
        |server| page.cpu_ratio("fan1k", server, REFERENCE),
        |median| format!("{} ×", short(median)),
    );
    let memory = page.panel(
        "Memory per idle connection",
        "resident bytes, 10,000 subscribed connections, without the kernel's",
        |server| page.series("idle10k", server, |o| Some(o.joining.rss_bytes)),
        |median| format!("{} B", whole(median)),
    );
    let panels: Vec<Panel> = [cpu, memory].into_iter().flatten().collect();
    (!panels.is_empty()).then(|| svg::draw(&panels))
}

impl Page<'_> {
    fn panel(
        &self,
        title: &str,
        subtitle: &str,
        figure: impl Fn(&str) -> Series,
        text: impl Fn(f64) -> String,
    ) -> Option<Panel> {
        let mut bars: Vec<Bar> = self
            .distinct(|o| &o.server)
            .into_iter()
            .filter(|server| !server.contains(" threads"))
            .filter_map(|label| {
                let value = figure(&label).median()?;
                let kind = kind(&label);
                let text = text(value);
                Some(Bar {
                    label,
                    value,
                    text,
                    kind,
                })
            })
            .collect();
        bars.sort_by(|a, b| a.value.total_cmp(&b.value));
        let others = bars.iter().any(|b| b.kind != Kind::Floor);
        others.then(|| Panel {
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            bars,
        })
    }
}

fn kind(server: &str) -> Kind {
    if server.starts_with("floor") {
        Kind::Floor
    } else if [GATEWAY, GATEWAY_RABBITMQ].contains(&server) {
        Kind::Ours
    } else {
        Kind::Other
    }
}
