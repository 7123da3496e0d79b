//! An 8-bit image, cut into the patches that a model reads.

use super::DataError;
use std::path::Path;
use tailtune::image::InputKind;

/// Returns the patches of an image, `[n_patches, patch · patch · channels]`, bytes as 0 to 1.
pub(super) fn patches(path: &Path, input: &InputKind) -> Result<Vec<f32>, DataError> {
    let bad = |reason: String| DataError::Image {
        path: path.into(),
        reason,
    };
    let &InputKind::Patches {
        height,
        width,
        channels,
        patch,
    } = input
    else {
        return Err(bad("the model does not read images".into()));
    };
    let picture = image::open(path).map_err(|e| bad(e.to_string()))?;
    let (found_width, found_height) = (picture.width(), picture.height());
    if (found_width, found_height) != (width.into(), height.into()) {
        return Err(bad(format!(
            "{found_width}×{found_height} pixels, the model reads {width}×{height}: scale it first"
        )));
    }
    let bytes = match channels {
        1 => picture.into_luma8().into_raw(),
        3 => picture.into_rgb8().into_raw(),
        4 => picture.into_rgba8().into_raw(),
        n => {
            return Err(bad(format!(
                "the model reads {n} channels; 1, 3 and 4 are known"
            )));
        }
    };
    Ok(cut(&bytes, width.into(), channels.into(), patch.into()))
}

/// Cuts bytes `[height, width, channels]` into square patches, row by row.
pub(super) fn cut(bytes: &[u8], width: usize, channels: usize, patch: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len());
    for band in bytes.chunks_exact(width * channels * patch) {
        for column in (0..width).step_by(patch) {
            for line in band.chunks_exact(width * channels) {
                let part = &line[column * channels..][..patch * channels];
                values.extend(part.iter().map(|&b| f32::from(b) / 255.0));
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_follow_each_other_in_rows() {
        let bytes: Vec<u8> = (0..16).collect();
        let got: Vec<u8> = cut(&bytes, 4, 1, 2)
            .iter()
            .map(|x| (x * 255.0).round() as u8)
            .collect();
        assert_eq!(got, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        let got: Vec<u8> = cut(&bytes[..8], 2, 2, 2)
            .iter()
            .map(|x| (x * 255.0).round() as u8)
            .collect();
        assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_image_of_another_size_is_named() {
        let file = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
        image::GrayImage::new(6, 4).save(file.path()).unwrap();
        let input = |width| InputKind::Patches {
            height: 4,
            width,
            channels: 1,
            patch: 2,
        };
        assert_eq!(patches(file.path(), &input(6)).unwrap().len(), 24);
        let error = patches(file.path(), &input(8)).unwrap_err().to_string();
        assert!(error.contains("6×4 pixels, the model reads 8×4"), "{error}");
        std::fs::write(file.path(), b"no image").unwrap();
        assert!(patches(file.path(), &input(6)).is_err());
    }
}
