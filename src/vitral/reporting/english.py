"""What people read in figures and reports, in English: the texts of `vitral.reporting.texts`."""

ENGLISH = {
    "code": "en",
    # splits, as adjectives of "images"
    "train": "training",
    "validation": "validation",
    "test": "test",
    # figures
    "epoch": "epoch",
    "epoch_count": "{count} epoch|{count} epochs",
    "image_count": "{count} image|{count} images",
    "loss": "loss",
    "loss_unit": "loss (nats)",
    "accuracy": "accuracy",
    "accuracy_unit": "accuracy (%)",
    "learning_rate": "learning rate",
    "chance": "always “{label}”: {majority}",
    "chance_mean_average_precision": "ranked at random: {majority}",
    "mean_average_precision": "mean average precision",
    "mean_average_precision_unit": "mean average precision (%)",
    "no_label": "no class",
    "best_epoch": "best epoch: {epoch}",
    # head of the report
    "report_title": "Training report",
    "comparison_title": "Comparison of runs",
    "written_by": "Written by vitral {version}. This file is complete in itself: it loads nothing from anywhere.",
    "headline": "of {count} {split} image classified correctly|of {count} {split} images classified correctly",
    "headline_interval": "95% interval: {low} to {high}",
    "headline_majority": "Always answering “{label}” would give {majority}",
    "interval_alt": "accuracy {accuracy}, 95% interval {low} to {high}, commonest class {majority}",
    "headline_mean_average_precision": "mean average precision on {count} {split} image|"
    "mean average precision on {count} {split} images",
    "headline_majority_mean_average_precision": "Ranking the images at random would give {majority}",
    "interval_alt_mean_average_precision": "mean average precision {accuracy}, 95% interval {low} to {high}, "
    "at random {majority}",
    "no_evaluation": "No evaluation yet",
    "no_evaluation_why": "This run has no evaluation.json, so there is no accuracy to report. "
    "The command “vitral evaluate” makes one.",
    # verdicts
    "weak": "This result is not distinguishable from always answering “{label}”.",
    "weak_includes": "That would give {majority}, which lies within the 95% interval of the accuracy "
    "({low} to {high}).",
    "weak_below": "That would give {majority}; the 95% interval of the accuracy ({low} to {high}) lies below it.",
    "weak_mean_average_precision": "This result is not distinguishable from ranking the images at random.",
    "weak_includes_mean_average_precision": "That would give {majority}, which lies within the 95% interval "
    "({low} to {high}).",
    "weak_below_mean_average_precision": "That would give {majority}; the 95% interval ({low} to {high}) "
    "lies below it.",
    "few": "Few {split} images.",
    "few_why": "With {images} the 95% interval is {width} percentage points wide: "
    "small differences between models cannot be seen here.",
    "optimistic": "These figures are optimistic.",
    "optimistic_why": "There is no test split: these validation images also chose the weights, "
    "so expect somewhat less on new images.",
    "running": "Training has not ended.",
    "interrupted": "Training was interrupted.",
    "failed": "Training failed.",
    "state_why": "The figures below are those written so far ({done}).",
    "unknown_classes": "There are images of classes that this model does not know: {images}.",
    "unknown_labels": "There are labels that this model does not know: {images}.",
    "unknown_classes_why": "They count as wrong:",
    "missing_classes": "Classes without an image here:",
    "by_groups": "by {groups} groups",
    "notes": "Notes",
    # measures
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "accuracy_top5": "top-5 accuracy",
    "exact_match": "all labels right",
    "label_accuracy": "single answers right",
    "micro_f1": "micro F1",
    "calibration_error": "calibration error",
    "points": "{value} points",
    "measures_explained": "What these figures mean",
    "about_balanced_accuracy": "the mean of the classes’ recalls: every class counts the same, however rare it is",
    "about_accuracy_top5": "share of images whose true class is among the five likeliest",
    "about_exact_match": "share of images of which every label is right and none is missing",
    "about_label_accuracy": "share of right answers among all yes or no answers, one for each image and class",
    "about_macro_f1": "F1 is the harmonic mean of precision and recall, 1 at best; this is its mean over the classes",
    "about_micro_f1": "F1, the harmonic mean of precision and recall, of all answers together, 1 at best",
    "about_auroc": "chance that an image of a class gets a higher probability for it than one of another class; "
    "0.5 is guessing, 1 the best",
    "about_loss": "mean surprise at the true labels (cross-entropy, in nats): lower is better, 0 is certainty",
    "about_calibration_error": "how far, on average, the model’s probabilities are from how often it is right",
    # facts
    "facts": "What was trained",
    "data": "Data",
    "data_count": "{images}, {classes} classes",
    "data_sizes": "{smallest} to {largest} px, median {median} px (width × height)",
    "data_size": "all {median} px (width × height)",
    "model": "Model",
    "model_size": "{parameters} parameters",
    "architecture": "{layers} layers, {dim} wide, {heads} heads, patches of {patch} px",
    "model_cost": "{multiply_adds} multiply-adds an image",
    "input": "input {width} × {height} px",
    "start": "Started from",
    "random_weights": "random weights",
    "training": "Training",
    "training_length": "{done} in {duration}",
    "training_best": "weights of epoch {epoch}, the best by {metric} on the validation images",
    "training_last": "weights of the last epoch: nothing was chosen",
    "probe_length": "{method} on frozen features, in {duration}",
    "probe_strength": "regularisation of strength {value}, chosen on training images left out in turn",
    "probe_neighbours": "neighbours that vote: {value}, chosen on training images left out in turn",
    "started": "Started",
    "machine": "Machine",
    "cores": "{count} core|{count} cores",
    "memory": "{memory} of memory",
    "device": "Device",
    "precision": "Precision",
    "command": "Command",
    "shortened": "Of absolute paths only the last two parts are shown; run.json has them whole.",
    # images
    "images": "Images",
    "images_lead": "Images per class and split. Training teaches, validation chooses, test is only measured.",
    "images_lead_folds": "Images per class and fold. "
    "Every image is tested once, by the run that did not learn from it.",
    "images_lead_multi_label": "An image of several classes counts in each of them, and once in the last line.",
    "class": "class",
    "total": "total",
    "bad_files": "Files that could not be read: {count}",
    "left_out": "Images left out: {count}",
    "path": "file",
    "reason": "reason",
    "and_more": "and {count} more",
    "no_bad_files": "Every file could be read.",
    "classes_even": "The classes have about equally many images to learn from.",
    "classes_uneven": "The commonest class to learn from, {most} ({many}), has {ratio} times as many images as the "
    "rarest, {least} ({few}).",
    "classes_uneven_why": "Balanced accuracy and the recall of each class say more here than accuracy alone.",
    "class_untaught": "There is no image of {least} to learn from.",
    # few shots
    "shots": "Few images a class",
    "shots_lead": "The same method after learning from a few training images of each class, drawn at random several "
    "times: accuracy on the test images over the draws. The run itself learned from all of them.",
    "shots_each": "images a class",
    "draws": "draws",
    "mean": "mean",
    "deviation": "standard deviation",
    "extremes": "lowest and highest",
    "all_images": "all",
    # curves
    "curves": "Curves",
    "curves_lead": "One point an epoch. The dotted line is what always answering the commonest class gives.",
    "curves_lead_mean_average_precision": "One point an epoch. The dotted line is what ranking the images at random "
    "gives.",
    "loss_alt": "Loss by epoch",
    "mean_average_precision_alt": "Mean average precision by epoch",
    "accuracy_alt": "Accuracy by epoch",
    # confusion
    "confusion": "Confusions",
    "confusion_lead": "Rows are the true class, columns the answer. "
    "Blue cells are right, orange ones wrong; the stronger, the larger the share of the row.",
    "confusion_pairs_lead": "The pairs of classes that are taken for one another most often.",
    "no_confusions": "No image was taken for another class.",
    "true_class": "true class",
    "predicted_class": "predicted",
    "count": "images",
    "share": "share of the true class",
    # classes
    "classes": "Classes",
    "classes_lead": "Precision: how many of the answers with this name are right. "
    "Recall: how many images of this class are found, with its 95% interval.",
    "classes_lead_multi_label": "Average precision: how well the images of this class are ranked before the others. "
    "From the threshold on, chosen on the validation images, the class is answered; precision: how many of these "
    "answers are right; recall: how many images of the class are found, with its 95% interval.",
    "average_precision": "average precision",
    "threshold": "threshold",
    "precision_measure": "precision",
    "recall": "recall",
    "interval": "95% interval",
    "f1": "F1",
    "show_all": "Show all {count} classes",
    # calibration
    "calibration": "Calibration",
    "calibration_lead": "When the model says 80%, is it right 8 times in 10? Points on the diagonal say yes; "
    "below it the model is too sure. Upright lines are 95% intervals; the bars below say how many images lie there.",
    "calibration_lead_multi_label": "Of the images to which the model gives a class with 80%, do 8 in 10 have it? "
    "Points on the diagonal say yes; below it the model says too much. Upright lines are 95% intervals; the bars below "
    "say how many answers lie there, one for each image and class.",
    "confidence_unit_multi_label": "probability of the class (%)",
    "right_unit_multi_label": "has the class (%)",
    "calibration_alt_multi_label": "Share of images that have the class by its probability",
    "calibration_value": "Calibration error: {value} percentage points "
    "(the mean distance from the diagonal, weighted by images).",
    "calibration_value_multi_label": "Calibration error: {value} percentage points "
    "(the mean distance from the diagonal, weighted by answers).",
    "sureness": "On average the model gives its answers a probability of {believed}, and {right} of them are right: "
    "{verdict}.",
    "too_sure": "it is too sure",
    "too_modest": "it is surer to be right than it says",
    "as_sure_as_right": "no difference beyond chance",
    "bin_unit": "images",
    "bin_unit_multi_label": "answers",
    "confidence_unit": "probability of the answer (%)",
    "right_unit": "right (%)",
    "calibration_alt": "Share of right answers by probability of the answer",
    # examples
    "examples": "Examples",
    "mistakes": "The most confident mistakes",
    "mistakes_lead": "In orange the answer with its probability, below it what the image is. Worth a look: often it is "
    "a wrong label, or there are two classes in one picture.",
    "mistakes_lead_multi_label": "In orange the answer with its probability, below it what the image is. Worth a look: "
    "often a label is wrong or missing.",
    "uncertain_lead_multi_label": "Right answers of which one label could as well have gone the other way.",
    "uncertain": "Right, but least certain",
    "uncertain_lead": "Right answers that could as well have gone the other way.",
    "heatmap_lead": "Beside each picture: where the model looked (bright: more).",
    "true_label": "is",
    "no_mistakes": "There is no mistake to show.",
    "no_right_answers": "There is no right answer to show.",
    "no_picture": "picture not readable",
    # recipe and versions
    "recipe": "Recipe",
    "recipe_lead": "Everything that was decided before the first step.",
    "versions": "Versions and hashes",
    "hash": "hash ({name})",
    # folds and seeds
    "folds": "Folds",
    "fold": "fold",
    "folds_count": "{count} fold|{count} folds",
    "folds_spread": "Accuracy of the single runs: {mean} on average, with a standard deviation of {spread} points.",
    "folds_spread_multi_label": "All labels right in the single runs: {mean} on average, with a standard deviation of "
    "{spread} points.",
    "folds_lead": "All figures above count every image once, answered by the run that did not learn from it.",
    "seeds": "Seeds",
    "seeds_count": "{count} seed|{count} seeds",
    "seeds_spread": "The figures above are means over the seeds; the accuracy has a standard deviation of {spread} "
    "points. Averaging the seeds’ probabilities gives {ensemble}.",
    "seeds_spread_multi_label": "The figures above are means over the seeds; the share with all labels right has a "
    "standard deviation of {spread} points. Averaging the seeds’ probabilities and thresholds gives {ensemble}.",
    "seeds_lead": "The interval is about the images, all of which every run answers. "
    "Confusions add up the answers of all runs; examples show the averaged probabilities.",
    "second_look": "Labels worth a second look",
    "second_look_lead": "{count} image may have a wrong label.|{count} images may have a wrong label.",
    "second_look_rule": "Runs that did not learn from them give another class at least the probability that images of "
    "that class get on average (confident learning). All of them are listed in second_look.csv, the likeliest first.",
    "second_look_rule_multi_label": "For one of the classes, runs that did not learn from them give the other answer, "
    "yes or no, at least the probability that images with that answer get on average (confident learning). All of them "
    "are listed in second_look.csv, the likeliest first.",
    "second_look_weak": "More than one image in five is listed.",
    "second_look_weak_why": "That says that the model is weak rather than that so many labels are wrong: "
    "only the first few are worth the look.",
    "no_second_look": "No label stands out.",
    "labelled": "labelled",
    # comparison
    "run": "run",
    "results": "Results",
    "results_lead": "Accuracy with its 95% interval on the images named in each line.",
    "results_lead_multi_label": "Share of images with all labels right, with its 95% interval, on the images named in "
    "each line.",
    "split": "split",
    "took": "duration",
    "parameters": "parameters",
    "weak_short": "not distinguishable from always answering “{label}”",
    "weak_short_mean_average_precision": "not distinguishable from ranking the images at random",
    "comparison_curves_lead_mean_average_precision": "Mean average precision and loss by epoch, on the {split} images.",
    "comparison_curves_lead": "Accuracy and loss by epoch, on the {split} images.",
    "without_epochs": "Not shown, since nothing was trained by epochs: {runs}.",
    "difference": "Paired difference",
    "difference_lead": "The same images answered by both runs: how much higher the accuracy is than that of {run}, "
    "with a 95% interval. An interval that includes 0 shows no difference.",
    "difference_lead_multi_label": "The same images answered by both runs: how much more of them have all labels right "
    "than with {run}, with a 95% interval. An interval that includes 0 shows no difference.",
    "difference_unit": "difference (points)",
    "from_to": "{low} to {high}",
    "range_note": "Band: 95% interval of the accuracy, from 0 to 100%. "
    "Dotted mark: always answering the commonest class.",
    "range_note_multi_label": "Band: 95% interval of the share with all labels right, from 0 to 100%. "
    "Dotted mark: always answering the commonest combination of labels.",
    "shared_images": "same images",
    "verdict": "verdict",
    "better": "better",
    "worse": "worse",
    "no_difference": "no difference shown",
    "no_shared_images": "no image in common",
    "only_here": "right only here",
    "only_there": "right only in {run}",
    "recipe_differences": "Differing recipe lines",
    "recipe_differences_lead": "Lines of the recipe that are not the same in all runs.",
    "recipe_same": "The recipes are the same.",
    "recipe_lacking": "Lines that only some of the runs have: {count}",
    "head": "head {number}",
    "order_explained": "by relevance, area {area}",
    "order_random": "at random, area {area}",
    "deletion_title": "Deletion: the most relevant patches go first",
    "deletion_share": "patches removed (%)",
    "deletion_score": "share of the answer lost (%)",
    "insertion_title": "Insertion: the most relevant patches come first",
    "insertion_share": "patches shown (%)",
    "insertion_score": "share of the answer regained (%)",
}
