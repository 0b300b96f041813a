"""What more than one task needs: composition, training, evaluation, images."""
