"""What every detector needs: COCO data, boxes, matching, post-processing, evaluation, drawing."""
