"""What people read in figures and reports, in English and Brazilian Portuguese, and how numbers are written there."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath

from vitral.errors import UsageError

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
    "`vitral evaluate` makes one.",
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
    # facts
    "facts": "What was trained",
    "data": "Data",
    "data_count": "{images}, {classes} classes",
    "data_sizes": "{smallest} to {largest} px, median {median} px (width × height)",
    "data_size": "all {median} px (width × height)",
    "model": "Model",
    "model_size": "{parameters} parameters",
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
    "cores": "{cores} cores",
    "memory": "{memory} of memory",
    "device": "Device",
    "precision": "Precision",
    "command": "Command",
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
    "below it the model is too sure. Lines are 95% intervals, bars show how many images lie there.",
    "calibration_lead_multi_label": "Of the images to which the model gives a class with 80%, do 8 in 10 have it? "
    "Points on the diagonal say yes; below it the model says too much. Lines are 95% intervals, bars show how many "
    "answers lie there, one for each image and class.",
    "confidence_unit_multi_label": "probability of the class (%)",
    "right_unit_multi_label": "has the class (%)",
    "calibration_alt_multi_label": "Share of images that have the class by its probability",
    "calibration_value": "Calibration error: {value} percentage points "
    "(the mean distance from the diagonal, weighted by images).",
    "calibration_value_multi_label": "Calibration error: {value} percentage points "
    "(the mean distance from the diagonal, weighted by answers).",
    "confidence_unit": "probability of the answer (%)",
    "right_unit": "right (%)",
    "calibration_alt": "Share of right answers by probability of the answer",
    # examples
    "examples": "Examples",
    "mistakes": "The most confident mistakes",
    "mistakes_lead": "Worth a look: often a wrong label, or two classes in one picture.",
    "mistakes_lead_multi_label": "Worth a look: often a label is wrong or missing.",
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
}

PORTUGUESE = {
    "code": "pt-BR",
    "train": "treino",
    "validation": "validação",
    "test": "teste",
    "epoch": "época",
    "epoch_count": "{count} época|{count} épocas",
    "image_count": "{count} imagem|{count} imagens",
    "loss": "perda",
    "loss_unit": "perda (nats)",
    "accuracy": "acurácia",
    "accuracy_unit": "acurácia (%)",
    "learning_rate": "taxa de aprendizado",
    "chance": "sempre “{label}”: {majority}",
    "chance_mean_average_precision": "em ordem aleatória: {majority}",
    "mean_average_precision": "precisão média (mAP)",
    "mean_average_precision_unit": "precisão média, mAP (%)",
    "no_label": "nenhuma classe",
    "best_epoch": "melhor época: {epoch}",
    "report_title": "Relatório de treino",
    "comparison_title": "Comparação de treinos",
    "written_by": "Escrito pelo vitral {version}. Este arquivo é completo: não carrega nada de lugar nenhum.",
    "headline": "da única imagem de {split} classificada corretamente|"
    "das {count} imagens de {split} classificadas corretamente",
    "headline_interval": "Intervalo de 95%: de {low} a {high}",
    "headline_majority": "Responder sempre “{label}” daria {majority}",
    "interval_alt": "acurácia {accuracy}, intervalo de 95% de {low} a {high}, classe mais comum {majority}",
    "headline_mean_average_precision": "de precisão média (mAP) na única imagem de {split}|"
    "de precisão média (mAP) nas {count} imagens de {split}",
    "headline_majority_mean_average_precision": "Ordenar as imagens ao acaso daria {majority}",
    "interval_alt_mean_average_precision": "precisão média {accuracy}, intervalo de 95% de {low} a {high}, "
    "ao acaso {majority}",
    "no_evaluation": "Ainda sem avaliação",
    "no_evaluation_why": "Este treino não tem evaluation.json, portanto não há acurácia a relatar. "
    "O comando `vitral evaluate` faz a avaliação.",
    "weak": "Este resultado não se distingue de responder sempre “{label}”.",
    "weak_includes": "Isso daria {majority}, valor que está dentro do intervalo de 95% da acurácia "
    "(de {low} a {high}).",
    "weak_below": "Isso daria {majority}; o intervalo de 95% da acurácia (de {low} a {high}) fica abaixo.",
    "weak_mean_average_precision": "Este resultado não se distingue de ordenar as imagens ao acaso.",
    "weak_includes_mean_average_precision": "Isso daria {majority}, valor que está dentro do intervalo de 95% "
    "(de {low} a {high}).",
    "weak_below_mean_average_precision": "Isso daria {majority}; o intervalo de 95% (de {low} a {high}) fica abaixo.",
    "few": "Poucas imagens de {split}.",
    "few_why": "Com {images}, o intervalo de 95% tem {width} pontos percentuais de largura: "
    "diferenças pequenas entre modelos não aparecem aqui.",
    "optimistic": "Estes números são otimistas.",
    "optimistic_why": "Não há imagens de teste: as de validação também escolheram os pesos, "
    "então espere um pouco menos em imagens novas.",
    "running": "O treino não terminou.",
    "interrupted": "O treino foi interrompido.",
    "failed": "O treino falhou.",
    "state_why": "Os números abaixo são os gravados até agora ({done}).",
    "unknown_classes": "Há imagens de classes que este modelo não conhece: {images}.",
    "unknown_labels": "Há rótulos que este modelo não conhece: {images}.",
    "unknown_classes_why": "Elas contam como erros:",
    "missing_classes": "Classes sem nenhuma imagem aqui:",
    "by_groups": "por {groups} grupos",
    "notes": "Observações",
    "balanced_accuracy": "acurácia balanceada",
    "macro_f1": "F1 macro",
    "auroc": "AUROC",
    "accuracy_top5": "acurácia top-5",
    "exact_match": "todos os rótulos certos",
    "label_accuracy": "respostas isoladas certas",
    "micro_f1": "F1 micro",
    "calibration_error": "erro de calibração",
    "points": "{value} pontos",
    "facts": "O que foi treinado",
    "data": "Dados",
    "data_count": "{images}, {classes} classes",
    "data_sizes": "de {smallest} a {largest} px, mediana {median} px (largura × altura)",
    "data_size": "todas com {median} px (largura × altura)",
    "model": "Modelo",
    "model_size": "{parameters} parâmetros",
    "model_cost": "{multiply_adds} multiplicações-adições por imagem",
    "input": "entrada de {width} × {height} px",
    "start": "Ponto de partida",
    "random_weights": "pesos aleatórios",
    "training": "Treino",
    "training_length": "{done} em {duration}",
    "training_best": "pesos da época {epoch}, a melhor em {metric} nas imagens de validação",
    "training_last": "pesos da última época: nada foi escolhido",
    "probe_length": "{method} sobre atributos congelados, em {duration}",
    "probe_strength": "regularização de força {value}, escolhida em imagens de treino deixadas de fora uma a uma",
    "probe_neighbours": "vizinhos que votam: {value}, escolhidos em imagens de treino deixadas de fora uma a uma",
    "started": "Início",
    "machine": "Máquina",
    "cores": "{cores} núcleos",
    "memory": "{memory} de memória",
    "device": "Dispositivo",
    "precision": "Precisão",
    "command": "Comando",
    "images": "Imagens",
    "images_lead": "Imagens por classe e conjunto. O treino ensina, a validação escolhe, o teste só é medido.",
    "images_lead_folds": "Imagens por classe e dobra. "
    "Cada imagem é testada uma vez, pelo treino que não aprendeu com ela.",
    "images_lead_multi_label": "Uma imagem de várias classes conta em cada uma, e uma só vez na última linha.",
    "class": "classe",
    "total": "total",
    "bad_files": "Arquivos que não puderam ser lidos: {count}",
    "left_out": "Imagens deixadas de fora: {count}",
    "path": "arquivo",
    "reason": "motivo",
    "and_more": "e mais {count}",
    "shots": "Poucas imagens por classe",
    "shots_lead": "O mesmo método depois de aprender com poucas imagens de treino de cada classe, sorteadas várias "
    "vezes: acurácia nas imagens de teste ao longo dos sorteios. A execução em si aprendeu com todas.",
    "shots_each": "imagens por classe",
    "draws": "sorteios",
    "mean": "média",
    "deviation": "desvio-padrão",
    "extremes": "menor e maior",
    "all_images": "todas",
    "curves": "Curvas",
    "curves_lead": "Um ponto por época. A linha pontilhada é o que se obtém respondendo sempre a classe mais comum.",
    "curves_lead_mean_average_precision": "Um ponto por época. A linha pontilhada é o que se obtém ordenando as "
    "imagens ao acaso.",
    "loss_alt": "Perda por época",
    "mean_average_precision_alt": "Precisão média por época",
    "accuracy_alt": "Acurácia por época",
    "confusion": "Confusões",
    "confusion_lead": "As linhas são a classe verdadeira; as colunas, a resposta. "
    "Células azuis são acertos e laranja, erros; quanto mais forte, maior a parte da linha.",
    "confusion_pairs_lead": "Os pares de classes que são mais confundidos.",
    "no_confusions": "Nenhuma imagem foi tomada por outra classe.",
    "true_class": "classe verdadeira",
    "predicted_class": "resposta",
    "count": "imagens",
    "share": "parte da classe verdadeira",
    "classes": "Classes",
    "classes_lead": "Precisão: quantas das respostas com este nome estão certas. "
    "Revocação: quantas imagens da classe são encontradas, com intervalo de 95%.",
    "classes_lead_multi_label": "Precisão média: quanto as imagens desta classe ficam à frente das outras. "
    "A partir do limiar, escolhido nas imagens de validação, a classe é respondida; precisão: quantas dessas "
    "respostas estão certas; revocação: quantas imagens da classe são encontradas, com intervalo de 95%.",
    "average_precision": "precisão média",
    "threshold": "limiar",
    "precision_measure": "precisão",
    "recall": "revocação",
    "interval": "intervalo de 95%",
    "f1": "F1",
    "show_all": "Mostrar as {count} classes",
    "calibration": "Calibração",
    "calibration_lead": "Quando o modelo diz 80%, acerta 8 em cada 10? Pontos na diagonal dizem que sim; "
    "abaixo dela, o modelo confia demais em si. Os traços são intervalos de 95%; as barras, quantas imagens há ali.",
    "calibration_lead_multi_label": "Das imagens a que o modelo dá uma classe com 80%, 8 em cada 10 a têm? Pontos na "
    "diagonal dizem que sim; abaixo dela, o modelo exagera. Os traços são intervalos de 95%; as barras, quantas "
    "respostas há ali, uma por imagem e classe.",
    "confidence_unit_multi_label": "probabilidade da classe (%)",
    "right_unit_multi_label": "têm a classe (%)",
    "calibration_alt_multi_label": "Parte das imagens que têm a classe, por probabilidade dela",
    "calibration_value": "Erro de calibração: {value} pontos percentuais "
    "(a distância média até a diagonal, ponderada pelas imagens).",
    "calibration_value_multi_label": "Erro de calibração: {value} pontos percentuais "
    "(a distância média até a diagonal, ponderada pelas respostas).",
    "confidence_unit": "probabilidade da resposta (%)",
    "right_unit": "acertos (%)",
    "calibration_alt": "Parte de acertos por probabilidade da resposta",
    "examples": "Exemplos",
    "mistakes": "Os erros mais confiantes",
    "mistakes_lead": "Vale olhar: muitas vezes é um rótulo errado, ou há duas classes na mesma foto.",
    "mistakes_lead_multi_label": "Vale olhar: muitas vezes um rótulo está errado ou falta.",
    "uncertain_lead_multi_label": "Respostas certas em que um rótulo quase foi outro.",
    "uncertain": "Certas, mas por pouco",
    "uncertain_lead": "Respostas certas que quase foram outras.",
    "heatmap_lead": "Ao lado de cada imagem: para onde o modelo olhou (mais claro: mais).",
    "true_label": "é",
    "no_mistakes": "Não há erro a mostrar.",
    "no_right_answers": "Não há acerto a mostrar.",
    "no_picture": "imagem ilegível",
    "recipe": "Receita",
    "recipe_lead": "Tudo o que foi decidido antes do primeiro passo.",
    "versions": "Versões e hashes",
    "hash": "hash ({name})",
    "folds": "Dobras",
    "fold": "dobra",
    "folds_count": "{count} dobra|{count} dobras",
    "folds_spread": "Acurácia de cada treino: {mean} em média, com desvio padrão de {spread} pontos.",
    "folds_spread_multi_label": "Todos os rótulos certos em cada treino: {mean} em média, com desvio padrão de "
    "{spread} pontos.",
    "folds_lead": "Todos os números acima contam cada imagem uma vez, "
    "respondida pelo treino que não aprendeu com ela.",
    "seeds": "Sementes",
    "seeds_count": "{count} semente|{count} sementes",
    "seeds_spread": "Os números acima são médias sobre as sementes; o desvio padrão da acurácia é de {spread} pontos. "
    "A média das probabilidades das sementes dá {ensemble}.",
    "seeds_spread_multi_label": "Os números acima são médias sobre as sementes; o desvio padrão da parte com todos os "
    "rótulos certos é de {spread} pontos. A média das probabilidades e dos limiares das sementes dá {ensemble}.",
    "seeds_lead": "O intervalo diz respeito às imagens, que todos os treinos respondem. "
    "As confusões somam as respostas de todos; os exemplos mostram as probabilidades médias.",
    "second_look": "Rótulos que merecem ser vistos de novo",
    "second_look_lead": "{count} imagem talvez tenha o rótulo errado.|{count} imagens talvez tenham o rótulo errado.",
    "second_look_rule": "Treinos que não aprenderam com elas dão a outra classe ao menos a probabilidade que as "
    "imagens dessa classe recebem em média (confident learning). Todas estão em "
    "second_look.csv, as mais prováveis primeiro.",
    "second_look_rule_multi_label": "Em uma das classes, treinos que não aprenderam com elas dão à outra resposta, sim "
    "ou não, ao menos a probabilidade que as imagens com essa resposta recebem em média (confident learning). "
    "Todas estão em second_look.csv, as mais prováveis primeiro.",
    "second_look_weak": "Mais de uma imagem em cada cinco está na lista.",
    "second_look_weak_why": "Isso mostra antes que o modelo é fraco do que tantos rótulos errados: "
    "só as primeiras valem a olhada.",
    "no_second_look": "Nenhum rótulo chama a atenção.",
    "labelled": "rótulo:",
    "run": "treino",
    "results": "Resultados",
    "results_lead": "Acurácia com intervalo de 95%, nas imagens indicadas em cada linha.",
    "results_lead_multi_label": "Parte das imagens com todos os rótulos certos, com intervalo de 95%, nas imagens "
    "indicadas em cada linha.",
    "split": "conjunto",
    "took": "duração",
    "parameters": "parâmetros",
    "weak_short": "não se distingue de responder sempre “{label}”",
    "weak_short_mean_average_precision": "não se distingue de ordenar as imagens ao acaso",
    "comparison_curves_lead_mean_average_precision": "Precisão média e perda por época, nas imagens de {split}.",
    "comparison_curves_lead": "Acurácia e perda por época, nas imagens de {split}.",
    "difference": "Diferença pareada",
    "difference_lead": "As mesmas imagens respondidas pelos dois treinos: quanto a acurácia é maior que a de {run}, "
    "com intervalo de 95%. Um intervalo que inclui 0 não mostra diferença.",
    "difference_lead_multi_label": "As mesmas imagens respondidas pelos dois treinos: quantas mais têm todos os "
    "rótulos certos que com {run}, com intervalo de 95%. Um intervalo que inclui 0 não mostra diferença.",
    "difference_unit": "diferença (pontos)",
    "from_to": "de {low} a {high}",
    "range_note": "Faixa: intervalo de 95% da acurácia, de 0 a 100%. "
    "Marca pontilhada: responder sempre a classe mais comum.",
    "range_note_multi_label": "Faixa: intervalo de 95% da parte com todos os rótulos certos, de 0 a 100%. "
    "Marca pontilhada: responder sempre a combinação de rótulos mais comum.",
    "shared_images": "mesmas imagens",
    "verdict": "conclusão",
    "better": "melhor",
    "worse": "pior",
    "no_difference": "sem diferença comprovada",
    "no_shared_images": "nenhuma imagem em comum",
    "only_here": "certas só aqui",
    "only_there": "certas só em {run}",
    "recipe_differences": "Linhas da receita que diferem",
    "recipe_differences_lead": "Linhas da receita que não são iguais em todos os treinos.",
    "recipe_same": "As receitas são iguais.",
}


@dataclass(frozen=True)
class Wording:
    """One language: its texts under their keys, and its way of writing numbers."""

    words: dict[str, str]
    decimal: str
    thousands: str
    date: str

    def __getitem__(self, key: str) -> str:
        return self.words[key]

    def say(self, key: str, **values: object) -> str:
        """The text under `key` with its gaps filled in."""
        return self.words[key].format(**values)

    def counted(self, key: str, count: int, **values: object) -> str:
        """The text under `key` for so many things; it holds the wording for one and for more, with `|` between."""
        one, more = self.words[key].split("|")
        return (one if count == 1 else more).format(count=self.number(count), **values)

    def label(self, text: str) -> str:
        """A label as files keep it, for people: `a + b` for `a|b`, `no class` for none."""
        return text.replace("|", " + ") or self.words["no_label"]

    def number(self, value: float, digits: int = 0) -> str:
        """`1234.5` with one digit is `1,234.5` in English and `1.234,5` in Portuguese."""
        marks = str.maketrans({",": self.thousands, ".": self.decimal})
        return f"{value:,.{digits}f}".translate(marks)

    def percent(self, fraction: float, digits: int = 1) -> str:
        """`0.842` is `84.2%`."""
        return self.number(100 * fraction, digits) + "%"

    def signed(self, value: float, digits: int = 1) -> str:
        """A number with its sign: `+1.2`, `−0.3`, `0.0`."""
        text = self.number(abs(value), digits)
        if not any(digit in text for digit in "123456789"):
            return text
        return ("+" if value > 0 else "−") + text

    def significant(self, value: float) -> str:
        """A number of any size in at most four significant digits: `0.003`, `1e-05`, `5.76`."""
        return f"{value:.4g}".replace(".", self.decimal)

    def large(self, value: float) -> str:
        """A large number with a metric prefix: `5.7 M`, `1.26 G`."""
        for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
            if value >= size:
                scaled = value / size
                return self.number(scaled, 2 if scaled < 10 else 1) + prefix
        return self.number(value)

    def duration(self, seconds: float) -> str:
        """`75` is `1 min 15 s`."""
        if seconds < 10:
            return self.number(seconds, 1) + " s"
        whole = round(seconds)
        hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
        if hours:
            return f"{self.number(hours)} h {minutes:02d} min"
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

    def moment(self, text: str) -> str:
        """An ISO 8601 time as a reader writes it, in UTC."""
        return datetime.fromisoformat(text).astimezone(UTC).strftime(self.date)


_WORDINGS = {
    "en": Wording(ENGLISH, decimal=".", thousands=",", date="%Y-%m-%d %H:%M UTC"),
    "pt": Wording(PORTUGUESE, decimal=",", thousands=".", date="%d/%m/%Y %H:%M UTC"),
}


def of_measure(key: str, measure: str) -> str:
    """The key of a text that is worded otherwise where a run is not judged by its accuracy."""
    return key if measure == "accuracy" else f"{key}_{measure}"


def wording_of(code: str) -> Wording:
    """The language for `"en"` or `"pt"`; anything else is a UsageError."""
    if code not in _WORDINGS:
        raise UsageError(f"unknown language {code!r}: choose one of {', '.join(_WORDINGS)}")
    return _WORDINGS[code]


def printable(text: str) -> str:
    """Text that can be written as UTF-8: bytes of file names that are none become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown_path(path: str) -> str:
    """A path as the data spells it; of an absolute one only folder and name, since reports travel."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return "/".join(kind(path).parts[1:][-2:])
    return path
