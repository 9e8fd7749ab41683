"""A large stochastic recurrent video predictor: model, data, training and pictures. Knows torch, not Gymnasium."""
