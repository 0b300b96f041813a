"""Image classification (Secs. 3.2, 4.1 and 4.2). The network is `tasks.shared.classification.Classifier`."""
