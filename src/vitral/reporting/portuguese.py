"""What people read in figures and reports, in Brazilian Portuguese: the texts of `vitral.reporting.texts`."""

PORTUGUESE = {
    "code": "pt-BR",
    # splits, as adjectives of "images"
    "train": "treino",
    "validation": "validação",
    "test": "teste",
    # figures
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
    # head of the report
    "report_title": "Relatório de treino",
    "comparison_title": "Comparação de treinos",
    "written_by": "Gerado pelo vitral {version}. Este arquivo é completo em si mesmo: não carrega nada de fora.",
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
    "O comando “vitral evaluate” faz a avaliação.",
    # verdicts
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
    # measures
    "balanced_accuracy": "acurácia balanceada",
    "macro_f1": "F1 macro",
    "auroc": "AUROC",
    "accuracy_top5": "acurácia top-5",
    "exact_match": "todos os rótulos certos",
    "label_accuracy": "respostas isoladas certas",
    "micro_f1": "F1 micro",
    "calibration_error": "erro de calibração",
    "points": "{value} pontos",
    "measures_explained": "O que estes números querem dizer",
    "about_balanced_accuracy": "média das revocações das classes: cada classe conta o mesmo, por mais rara que seja",
    "about_accuracy_top5": "proporção de imagens cuja classe verdadeira está entre as cinco mais prováveis",
    "about_exact_match": "proporção de imagens com todos os rótulos certos, sem faltar nenhum",
    "about_label_accuracy": "proporção de acertos entre todas as respostas de sim ou não, uma por imagem e classe",
    "about_macro_f1": "F1 é a média harmônica de precisão e revocação, no máximo 1; aqui, a média das classes",
    "about_micro_f1": "F1, a média harmônica de precisão e revocação, de todas as respostas juntas, no máximo 1",
    "about_auroc": "chance de uma imagem da classe receber para ela probabilidade maior que uma imagem de outra; "
    "0,5 é adivinhar, 1 é o máximo",
    "about_loss": "surpresa média diante dos rótulos verdadeiros (entropia cruzada, em nats): quanto menor, melhor; "
    "0 é certeza",
    "about_calibration_error": "distância média entre as probabilidades do modelo e a frequência com que ele acerta",
    # facts
    "facts": "O que foi treinado",
    "data": "Dados",
    "data_count": "{images}, {classes} classes",
    "data_sizes": "de {smallest} a {largest} px, mediana {median} px (largura × altura)",
    "data_size": "todas com {median} px (largura × altura)",
    "model": "Modelo",
    "model_size": "{parameters} parâmetros",
    "architecture": "{layers} camadas, largura {dim}, {heads} cabeças, recortes de {patch} px",
    "model_cost": "{multiply_adds} multiplicações-adições por imagem",
    "input": "entrada de {width} × {height} px",
    "start": "Ponto de partida",
    "random_weights": "pesos aleatórios",
    "training": "Treino",
    "training_length": "{done} em {duration}",
    "training_best": "pesos da época {epoch}, a melhor em {metric} nas imagens de validação",
    "training_last": "pesos da última época: nada foi escolhido",
    "probe_length": "{method} sobre atributos congelados, em {duration}",
    "probe_strength": "regularização de força {value}, escolhida em imagens de treino deixadas de fora por vez",
    "probe_neighbours": "vizinhos que votam: {value}, escolhidos em imagens de treino deixadas de fora por vez",
    "started": "Início",
    "machine": "Máquina",
    "cores": "{count} núcleo|{count} núcleos",
    "memory": "{memory} de memória",
    "device": "Dispositivo",
    "precision": "Precisão",
    "command": "Comando",
    "shortened": "Dos caminhos absolutos aparecem só as duas últimas partes; run.json guarda os caminhos inteiros.",
    # images
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
    "no_bad_files": "Todos os arquivos puderam ser lidos.",
    "classes_even": "As classes têm mais ou menos o mesmo número de imagens de treino.",
    "classes_uneven": "A classe mais comum no treino, {most} ({many}), tem {ratio} vezes as imagens da mais rara, "
    "{least} ({few}).",
    "classes_uneven_why": "A acurácia balanceada e a revocação de cada classe dizem mais aqui que a acurácia sozinha.",
    "class_untaught": "Não há imagem de {least} com que aprender.",
    # few shots
    "shots": "Poucas imagens por classe",
    "shots_lead": "O mesmo método depois de aprender com poucas imagens de treino de cada classe, sorteadas várias "
    "vezes: acurácia nas imagens de teste ao longo dos sorteios. A execução em si aprendeu com todas.",
    "shots_each": "imagens por classe",
    "draws": "sorteios",
    "mean": "média",
    "deviation": "desvio-padrão",
    "extremes": "menor e maior",
    "all_images": "todas",
    # curves
    "curves": "Curvas",
    "curves_lead": "Um ponto por época. A linha pontilhada é o que se obtém respondendo sempre com a classe mais "
    "comum.",
    "curves_lead_mean_average_precision": "Um ponto por época. A linha pontilhada é o que se obtém ordenando as "
    "imagens ao acaso.",
    "loss_alt": "Perda por época",
    "mean_average_precision_alt": "Precisão média por época",
    "accuracy_alt": "Acurácia por época",
    # confusion
    "confusion": "Confusões",
    "confusion_lead": "As linhas são a classe verdadeira; as colunas, a resposta. "
    "Células azuis são acertos e laranja, erros; quanto mais forte a cor, maior a proporção da linha.",
    "confusion_pairs_lead": "Os pares de classes que são mais confundidos.",
    "no_confusions": "Nenhuma imagem foi tomada por outra classe.",
    "true_class": "classe verdadeira",
    "predicted_class": "resposta",
    "count": "imagens",
    "share": "proporção da classe verdadeira",
    # classes
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
    # calibration
    "calibration": "Calibração",
    "calibration_lead": "Quando o modelo diz 80%, acerta 8 em cada 10? Pontos na diagonal dizem que sim; "
    "abaixo dela, o modelo confia demais em si. Os traços verticais são intervalos de 95%; as barras abaixo dizem "
    "quantas imagens há ali.",
    "calibration_lead_multi_label": "Das imagens a que o modelo dá uma classe com 80%, 8 em cada 10 a têm? Pontos na "
    "diagonal dizem que sim; abaixo dela, o modelo exagera. Os traços verticais são intervalos de 95%; as barras "
    "abaixo dizem quantas respostas há ali, uma por imagem e classe.",
    "confidence_unit_multi_label": "probabilidade da classe (%)",
    "right_unit_multi_label": "têm a classe (%)",
    "calibration_alt_multi_label": "Proporção das imagens que têm a classe, por probabilidade dela",
    "calibration_value": "Erro de calibração: {value} pontos percentuais "
    "(a distância média até a diagonal, ponderada pelas imagens).",
    "calibration_value_multi_label": "Erro de calibração: {value} pontos percentuais "
    "(a distância média até a diagonal, ponderada pelas respostas).",
    "sureness": "Em média, o modelo dá às suas respostas uma probabilidade de {believed}, e {right} delas estão "
    "certas: {verdict}.",
    "too_sure": "ele confia demais em si",
    "too_modest": "ele acerta mais do que diz",
    "as_sure_as_right": "não há diferença além do acaso",
    "bin_unit": "imagens",
    "bin_unit_multi_label": "respostas",
    "confidence_unit": "probabilidade da resposta (%)",
    "right_unit": "acertos (%)",
    "calibration_alt": "Proporção de acertos por probabilidade da resposta",
    # examples
    "examples": "Exemplos",
    "mistakes": "Os erros mais confiantes",
    "mistakes_lead": "Em laranja, a resposta com sua probabilidade; abaixo, o que a imagem é. Vale a pena olhar: "
    "muitas vezes o rótulo está errado, ou há duas classes na mesma foto.",
    "mistakes_lead_multi_label": "Em laranja, a resposta com sua probabilidade; abaixo, o que a imagem é. Vale a pena "
    "olhar: muitas vezes um rótulo está errado ou falta.",
    "uncertain_lead_multi_label": "Respostas certas em que um rótulo quase foi outro.",
    "uncertain": "Certas, mas por pouco",
    "uncertain_lead": "Respostas certas que quase foram outras.",
    "heatmap_lead": "Ao lado de cada imagem: para onde o modelo olhou (mais claro: mais).",
    "true_label": "é",
    "no_mistakes": "Não há erro a mostrar.",
    "no_right_answers": "Não há acerto a mostrar.",
    "no_picture": "imagem ilegível",
    # recipe and versions
    "recipe": "Receita",
    "recipe_lead": "Tudo o que foi decidido antes do primeiro passo.",
    "versions": "Versões e hashes",
    "hash": "hash ({name})",
    # folds and seeds
    "folds": "Dobras",
    "fold": "dobra",
    "folds_count": "{count} dobra|{count} dobras",
    "folds_spread": "Acurácia de cada treino: {mean} em média, com desvio-padrão de {spread} pontos.",
    "folds_spread_multi_label": "Todos os rótulos certos em cada treino: {mean} em média, com desvio-padrão de "
    "{spread} pontos.",
    "folds_lead": "Todos os números acima contam cada imagem uma vez, "
    "respondida pelo treino que não aprendeu com ela.",
    "seeds": "Sementes",
    "seeds_count": "{count} semente|{count} sementes",
    "seeds_spread": "Os números acima são médias sobre as sementes; o desvio-padrão da acurácia é de {spread} pontos. "
    "A média das probabilidades das sementes dá {ensemble}.",
    "seeds_spread_multi_label": "Os números acima são médias sobre as sementes; o desvio-padrão da proporção com todos "
    "os rótulos certos é de {spread} pontos. A média das probabilidades e dos limiares das sementes dá {ensemble}.",
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
    "só vale a pena olhar as primeiras.",
    "no_second_look": "Nenhum rótulo chama a atenção.",
    "labelled": "rótulo:",
    # comparison
    "run": "treino",
    "results": "Resultados",
    "results_lead": "Acurácia com intervalo de 95%, nas imagens indicadas em cada linha.",
    "results_lead_multi_label": "Proporção das imagens com todos os rótulos certos, com intervalo de 95%, nas imagens "
    "indicadas em cada linha.",
    "split": "conjunto",
    "took": "duração",
    "parameters": "parâmetros",
    "weak_short": "não se distingue de responder sempre “{label}”",
    "weak_short_mean_average_precision": "não se distingue de ordenar as imagens ao acaso",
    "comparison_curves_lead_mean_average_precision": "Precisão média e perda por época, nas imagens de {split}.",
    "comparison_curves_lead": "Acurácia e perda por época, nas imagens de {split}.",
    "without_epochs": "Não aparecem, por não terem épocas: {runs}.",
    "difference": "Diferença pareada",
    "difference_lead": "As mesmas imagens respondidas pelos dois treinos: quanto a acurácia é maior que a de {run}, "
    "com intervalo de 95%. Um intervalo que inclui 0 não mostra diferença.",
    "difference_lead_multi_label": "As mesmas imagens respondidas pelos dois treinos: quantas mais têm todos os "
    "rótulos certos que com {run}, com intervalo de 95%. Um intervalo que inclui 0 não mostra diferença.",
    "difference_unit": "diferença (pontos)",
    "from_to": "de {low} a {high}",
    "range_note": "Faixa: intervalo de 95% da acurácia, de 0 a 100%. "
    "Marca pontilhada: responder sempre a classe mais comum.",
    "range_note_multi_label": "Faixa: intervalo de 95% da proporção com todos os rótulos certos, de 0 a 100%. "
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
    "recipe_lacking": "Linhas que só alguns dos treinos têm: {count}",
    "head": "cabeça {number}",
    "order_explained": "por relevância, área {area}",
    "order_random": "ao acaso, área {area}",
    "deletion_title": "Remoção: os patches mais relevantes saem primeiro",
    "deletion_share": "patches removidos (%)",
    "deletion_score": "parte da resposta perdida (%)",
    "insertion_title": "Inserção: os patches mais relevantes entram primeiro",
    "insertion_share": "patches mostrados (%)",
    "insertion_score": "parte da resposta recuperada (%)",
}
