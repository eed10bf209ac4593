"""From a network and a whole slide to heatmap, detections and files. Nothing is imported here."""
