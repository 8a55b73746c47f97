//! The curve of a run as a picture.

use plotters::prelude::*;
use skimlm_core::{Code, Error, Result};

use crate::journal::Line;

const SIZE: (u32, u32) = (900, 560);

/// Loss above and accuracy below, over steps, as SVG.
pub fn curve(title: &str, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, lines).map_err(|e| Error::new(Code::Internal, format!("the curve cannot be drawn: {e}")))?;
    Ok(svg)
}

fn draw(svg: &mut String, title: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let last = lines.last().map_or(1, |line| line.step.max(1));
    let highest = lines.iter().map(|line| line.loss).fold(0.1, f64::max) * 1.05;
    let panels = root.titled(title, ("sans-serif", 20))?.split_evenly((2, 1));
    let loss = lines.iter().map(|line| (line.step, line.loss)).collect::<Vec<_>>();
    let accuracy = lines.iter().map(|line| (line.step, line.accuracy)).collect::<Vec<_>>();
    let parts = [("loss", highest, RED, loss), ("accuracy", 1.02, BLUE, accuracy)];
    for (panel, (name, top, color, points)) in panels.iter().zip(parts) {
        let mut chart = ChartBuilder::on(panel)
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(52)
            .build_cartesian_2d(0..last, 0.0..top)?;
        chart.configure_mesh().x_desc("step").y_desc(name).light_line_style(WHITE).draw()?;
        chart.draw_series(LineSeries::new(points, color))?;
    }
    root.present()?;
    Ok(())
}
